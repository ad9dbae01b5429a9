"""Stands for the graph library of seed 001 §7.1: no published langgraph has the `StateGraph` that the sample imports from its top."""

from typing import Any


class StateGraph:
    """A graph whose one step answers."""

    def __init__(self, state: type) -> None:
        self.state = state

    def compile(self) -> "StateGraph":
        return self

    async def ainvoke(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"output": f"graph of {values['input']}", "steps": ["answer"]}
