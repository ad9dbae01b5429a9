"""A tool that acts only after a person has said yes.

The agent may want to pay; the app then asks, by a message whose metadata has `approval: {"id", "tool", "input"}`, and the turn ends.
The next message with the metadata `{"approve": id}` lets exactly that call through, once; any other message drops it.
"""

import uuid
from collections.abc import AsyncIterator
from typing import Any

from agentscope.agent import ReActAgent
from agentscope.memory import InMemoryMemory
from agentscope.message import Msg, TextBlock
from agentscope.module import StateModule
from agentscope.runtime import AgentApp, SessionContext, runtime
from agentscope.tool import ToolResponse

ASKS_FIRST = {"pay"}


def pay(to: str, euros: float) -> ToolResponse:
    """Send money.

    Args:
        to (str): Who gets it.
        euros (float): How much.
    """
    return text(f"paid {euros:g} euros to {to}")


def text(words: str) -> ToolResponse:
    return ToolResponse(content=[TextBlock(type="text", text=words)])


class Desk(StateModule):
    """The call that waits for a person, and the one that a person has let through; kept with the session."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, Any] | None = None
        self.approved: dict[str, Any] | None = None
        self.register_state("waiting")
        self.register_state("approved")

    def answer(self, approval: object) -> None:
        """Take a person's answer: the id that was asked about lets the call through."""
        waiting, self.waiting = self.waiting, None
        self.approved = waiting if waiting is not None and waiting["id"] == approval else None

    def passes(self, call: dict[str, Any]) -> bool:
        """Tell whether a call may be made; if not, it waits for a person."""
        asked = {"tool": call["name"], "input": call["input"]}
        approved, self.approved = self.approved, None
        if call["name"] not in ASKS_FIRST or (approved and {**approved, "id": None} == {**asked, "id": None}):
            return True
        self.waiting = {"id": uuid.uuid4().hex, **asked}
        return False


class App(AgentApp):
    """An agent with a tool that asks first."""

    async def on_startup(self) -> None:
        self.desk = Desk()
        self.agent = ReActAgent(
            name="Clerk",
            sys_prompt="You pay bills. A person approves each payment; when one did, make the same call again.",
            model=runtime.models.main,
            toolkit=runtime.tools,
            memory=InMemoryMemory(),
        )
        self.agent.toolkit.register_tool_function(pay)
        self.agent.toolkit.register_middleware(self.ask_first)

    async def ask_first(self, kwargs: dict[str, Any], next_handler: Any) -> AsyncIterator[ToolResponse]:
        """Stand between the agent and its tools."""
        if not self.desk.passes(kwargs["tool_call"]):
            yield text("A person must approve this first. Say what you want to do, and stop.")
            return
        async for response in await next_handler(**kwargs):
            yield response

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[Msg]:
        modules = {"memory": self.agent.memory, "desk": self.desk}
        await runtime.session.load_session_state(ctx.session_id, **modules)
        self.desk.answer(ctx.metadata.get("approve"))
        async for chunk in self.agent.stream(msg):
            yield chunk
        if self.desk.waiting:
            yield Msg("system", "May I do this?", "assistant", metadata={"approval": self.desk.waiting})
        await runtime.session.save_session_state(ctx.session_id, **modules)
