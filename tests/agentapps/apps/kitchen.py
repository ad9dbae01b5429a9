"""An app that does what its message says: `verb rest`."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

from agentscope.agent import AgentBase, ReActAgent
from agentscope.memory import InMemoryMemory
from agentscope.message import Msg
from agentscope.runtime import AgentApp, SessionContext, runtime

NUMBERS = itertools.count(1)


class Stubborn(AgentBase):
    """Swallows every cancellation."""

    async def reply(self, msg):
        await self.print(Msg("Stubborn", "begun", "assistant"))
        for _ in range(3):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                continue
        return Msg("Stubborn", "", "assistant")


class App(AgentApp):
    def __init__(self) -> None:
        self.number = next(NUMBERS)
        self.seen = 0
        self.waits_over = 0

    async def on_startup(self) -> None:
        self.agent = ReActAgent(
            name="Friday",
            sys_prompt="You are Friday.",
            model=runtime.models.main,
            toolkit=runtime.tools,
            memory=InMemoryMemory(),
        )

    async def on_shutdown(self) -> None:
        with Path("shutdowns").open("a") as file:
            file.write(f"{self.number}\n")

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[Msg | str]:
        self.seen += 1
        verb, _, rest = msg.get_text_content().partition(" ")
        async for chunk in getattr(self, verb)(rest, msg, ctx):
            yield chunk

    async def echo(self, rest, msg, ctx):
        for word in rest.split():
            yield Msg("assistant", word + " ", "assistant")

    async def who(self, rest, msg, ctx):
        yield f"instance {self.number} message {self.seen}"

    async def context(self, rest, msg, ctx):
        yield f"{ctx.session_id} {ctx.tenant_id} {ctx.user_id} {dict(ctx.metadata)} {bool(ctx.request_id)}"

    async def model(self, rest, msg, ctx):
        async for chunk in runtime.models.main.stream([Msg("user", rest, "user")]):
            yield chunk.text

    async def whole(self, rest, msg, ctx):
        answer = await runtime.models["main"]([Msg("user", rest, "user")])
        yield answer.text

    async def react(self, rest, msg, ctx):
        async for chunk in self.agent.stream(Msg("user", rest, "user")):
            yield chunk

    async def remembering(self, rest, msg, ctx):
        await runtime.session.load_session_state(ctx.session_id, memory=self.agent.memory)
        async for chunk in self.agent.stream(Msg("user", rest, "user")):
            yield chunk
        await runtime.session.save_session_state(ctx.session_id, memory=self.agent.memory)

    async def called(self, rest, msg, ctx):
        """Two agents, one after the other, without streaming."""
        first = await self.agent(Msg("user", rest, "user"))
        Path("went-on").write_text("yes")
        yield first

    async def shout(self, rest, msg, ctx):
        yield "before "
        raise RuntimeError(rest)

    async def fail(self, rest, msg, ctx):
        raise RuntimeError(rest)
        yield

    async def wait(self, rest, msg, ctx):
        yield "waiting"
        await asyncio.sleep(float(rest))
        Path("waited").write_text("yes")
        yield "done"
        self.waits_over += 1

    async def waits(self, rest, msg, ctx):
        yield f"{self.waits_over} over"

    async def stubborn(self, rest, msg, ctx):
        async for chunk in Stubborn().stream(msg):
            yield chunk

    async def block(self, rest, msg, ctx):
        yield str(msg.content)

    async def tools(self, rest, msg, ctx):
        yield " ".join(sorted(schema["function"]["name"] for schema in runtime.tools.get_json_schemas()))
