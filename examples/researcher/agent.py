"""A researcher: a LangGraph graph in which a model may call tools, again and again, until it can answer.

The model is whatever speaks OpenAI's protocol at OPENAI_BASE_URL (with OPENAI_API_KEY, and OPENAI_MODEL for its name). The request
leaves the sandbox through the platform's egress proxy, which the HTTP client finds in HTTP_PROXY.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from ppio_sandbox.agent_runtime import AgentRuntimeApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langgraph.graph.state import CompiledStateGraph

app = AgentRuntimeApp()
LIBRARY = Path(__file__).parent / "library"
TASK = SystemMessage("Search the library and read what you find before you answer. Say which text you read.")


@tool
def search(question: str) -> list[str]:
    """Return the names of the texts whose words the question shares, best first."""
    words = {word.strip("?.,!").lower() for word in question.split()} - {"the", "a", "an", "is", "of", "how", "why", "what", "its", "at"}
    texts = {path.stem: path.read_text().lower() for path in LIBRARY.glob("*.md")}
    return sorted(texts, key=lambda name: -sum(word in texts[name] for word in words))[:2]


@tool
def read(name: str) -> str:
    """Return the text of that name."""
    path = LIBRARY / f"{Path(name).name}.md"
    return path.read_text() if path.exists() else f"There is no text called {name}."


@cache
def graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"), timeout=60).bind_tools([search, read])

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke([TASK, *state["messages"]])]}

    steps = StateGraph(MessagesState)
    steps.add_node("think", think)
    steps.add_node("tools", ToolNode([search, read]))
    steps.add_edge(START, "think")
    steps.add_conditional_edges("think", tools_condition)
    steps.add_edge("tools", "think")
    return steps.compile()


@app.entrypoint
async def research(request: dict[str, Any]) -> AsyncIterator[str]:
    question = {"messages": [HumanMessage(request["prompt"])]}
    async for message, _ in graph().astream(question, stream_mode="messages"):
        if isinstance(message, AIMessageChunk) and message.text:
            yield message.text


if __name__ == "__main__":
    app.run()
