from collections.abc import AsyncIterator

from agentscope.agent import ReActAgent
from agentscope.memory import InMemoryMemory
from agentscope.message import Msg
from agentscope.runtime import AgentApp, SessionContext, runtime


class App(AgentApp):
    """An agent per session that searches, and remembers the session across restarts."""

    async def on_startup(self) -> None:
        self.agent = ReActAgent(
            name="Assistant",
            sys_prompt="You are a helpful assistant with search capability.",
            model=runtime.models.main,
            toolkit=runtime.tools,
            memory=InMemoryMemory(),
        )

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[Msg]:
        await runtime.session.load_session_state(ctx.session_id, memory=self.agent.memory)
        async for chunk in self.agent.stream(msg):
            yield chunk
        await runtime.session.save_session_state(ctx.session_id, memory=self.agent.memory)
