"""A model server for demos and tests: it speaks OpenAI's chat completions, streaming and tool calls included, and thinks by script.

Given tools, it searches, reads the first text that was found, then answers from it; without tools it repeats the question. Any
agent that works with it works with a real one: only the thoughts are fixed. Prints one line, its base URL, when it listens.

    python -m examples.model_server --host 127.0.0.1 --port 0 --delay 0.01
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

Message = dict[str, Any]


def think(messages: Sequence[Message], tools: Sequence[str]) -> Message:
    """Return the assistant's next message: a tool call while there is something to look up, else the answer."""
    question = next(str(m["content"]) for m in reversed(messages) if m["role"] == "user")
    results = [str(m["content"]) for m in messages if m["role"] == "tool"]
    if "search" in tools and not results:
        return call("search", question=question)
    if "read" in tools and len(results) == 1:
        return call("read", name=first_name(results[0]))
    if results:
        title, _, text = results[-1].partition("\n")
        return {"role": "assistant", "content": f"I read “{title.lstrip('# ')}”. {' '.join(text.split())}"}
    return {"role": "assistant", "content": f"You asked: {question}"}


def first_name(found: str) -> str:
    """Return the first name of a search result, be it JSON or a list as Python prints it."""
    names = re.findall(r"[\w-]+", found)
    return names[0] if names else ""


def call(name: str, /, **arguments: str) -> Message:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": f"call_{uuid.uuid4().hex[:12]}", "type": "function", "function": function}],
    }


def deltas(message: Message) -> Iterator[Message]:
    """Cut a message into the pieces in which a model would stream it: word by word, a tool's arguments in two halves."""
    yield {"role": "assistant", "content": None if message["content"] is None else ""}
    for index, made in enumerate(message.get("tool_calls", ())):
        arguments = made["function"]["arguments"]
        half = len(arguments) // 2
        yield {"tool_calls": [{**made, "index": index, "function": {"name": made["function"]["name"], "arguments": arguments[:half]}}]}
        yield {"tool_calls": [{"index": index, "function": {"arguments": arguments[half:]}}]}
    for word in re.findall(r"\S+\s*", message["content"] or ""):
        yield {"content": word}


def finish(message: Message) -> str:
    return "tool_calls" if "tool_calls" in message else "stop"


async def events(head: Message, message: Message, delay: float) -> AsyncIterator[str]:
    """Yield the lines of a streamed completion, `delay` seconds apart."""
    for delta in deltas(message):
        await anyio.sleep(delay)
        yield event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish(message)}]})
    yield "data: [DONE]\n\n"


def event(value: Message) -> str:
    return f"data: {json.dumps(value)}\n\n"


async def complete(request: Request) -> Response:
    """Serve `POST /v1/chat/completions`."""
    if not request.headers.get("authorization", "").startswith("Bearer "):
        error = {"message": "You didn't provide an API key.", "type": "invalid_request_error", "code": "invalid_api_key"}
        return JSONResponse({"error": error}, status_code=401)
    body = await request.json()
    message = think(body["messages"], [tool["function"]["name"] for tool in body.get("tools", ())])
    head: Message = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body.get("model", "scripted")}
    if body.get("stream"):
        lines = events({**head, "object": "chat.completion.chunk"}, message, request.app.state.delay)
        return StreamingResponse(lines, media_type="text/event-stream")
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    choice = {"index": 0, "message": message, "finish_reason": finish(message)}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


async def models(_: Request) -> Response:
    """Serve `GET /v1/models`."""
    return JSONResponse({"object": "list", "data": [{"id": "scripted", "object": "model", "created": 0, "owned_by": "examples"}]})


server = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"]), Route("/v1/models", models)])


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description="A scripted model behind OpenAI's protocol.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between the tokens of a stream")
    chosen = parser.parse_args()
    server.state.delay = chosen.delay
    with socket.create_server((chosen.host, chosen.port)) as listener:
        host, port = listener.getsockname()
        print(f"http://{host}:{port}/v1", flush=True)
        uvicorn.Server(uvicorn.Config(server, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
