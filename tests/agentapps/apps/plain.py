"""Every way to write `__call__`; which one is told by the environment."""

import os

from agentscope.message import Msg
from agentscope.runtime import AgentApp


class Coroutine(AgentApp):
    async def __call__(self, msg, ctx):
        return Msg("assistant", f"coroutine {msg.get_text_content()}", "assistant")


class Nothing(AgentApp):
    async def __call__(self, msg, ctx):
        pass


class Plain(AgentApp):
    def __call__(self, msg, ctx):
        return f"plain {msg.get_text_content()}"


class Generator(AgentApp):
    def __call__(self, msg, ctx):
        yield "generator "
        yield msg.get_text_content()


class Snapshots(AgentApp):
    async def __call__(self, msg, ctx):
        growing = Msg("assistant", "", "assistant")
        for word in ("one ", "two ", "three"):
            growing.content += word
            yield growing
            yield growing


App = {kind.__name__: kind for kind in (Coroutine, Nothing, Plain, Generator, Snapshots)}[os.environ["KIND"]]
