"""Keeps a list per session in the store; messages say what to do between loading and saving."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from agentscope.memory import InMemoryMemory
from agentscope.message import Msg
from agentscope.runtime import AgentApp, SessionContext, SessionNotFound, runtime


class App(AgentApp):
    def __init__(self) -> None:
        self.memory = InMemoryMemory()

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        verb, _, rest = msg.get_text_content().partition(" ")
        async for text in getattr(self, verb)(rest, ctx.session_id, msg):
            yield text

    async def add(self, rest, session, msg):
        await runtime.session.load_session_state(session, memory=self.memory)
        await self.memory.add(msg)
        await runtime.session.save_session_state(session, memory=self.memory)
        yield str(await self.memory.size())

    async def slow(self, rest, session, msg):
        await runtime.session.load_session_state(session, memory=self.memory)
        await self.memory.add(msg)
        Path("loaded").write_text("yes")
        yield "loaded"
        await asyncio.sleep(float(rest))
        await runtime.session.save_session_state(session, memory=self.memory)
        yield " saved"

    async def get(self, rest, session, msg):
        state = await runtime.session.load_session_state(session, allow_not_exist=True)
        yield "None" if state is None else f"{sorted(state)} {len(state['memory']['content'])}"

    async def must(self, rest, session, msg):
        try:
            await runtime.session.load_session_state(session, allow_not_exist=False)
        except ValueError as error:
            yield f"{type(error).__name__} {isinstance(error, SessionNotFound)}"

    async def require(self, rest, session, msg):
        await runtime.session.load_session_state(session, allow_not_exist=False)
        yield "there"

    async def big(self, rest, session, msg):
        await self.memory.add(Msg("user", "x" * int(rest), "user"))
        await runtime.session.save_session_state(session, memory=self.memory)
        yield "saved"

    async def partial(self, rest, session, msg):
        await runtime.session.save_session_state(session, **{rest: self.memory})
        yield "saved"

    async def forget(self, rest, session, msg):
        await runtime.session.delete_session_state(session)
        yield "forgotten"

    async def other(self, rest, session, msg):
        await runtime.session.load_session_state(rest, memory=self.memory)
        yield "loaded"

    async def behind(self, rest, session, msg):
        """Have somebody else save between loading and saving: another owner, whom no lease of ours keeps out."""
        await runtime.session.load_session_state(session, memory=self.memory)
        store, key = runtime.running.store, next(iter(runtime.session._held))[0]
        await store.save(key, {"memory": b"{}"}, expected=None, expires_at=None, now=0.0)
        await runtime.session.save_session_state(session, memory=self.memory)
        yield "saved"
