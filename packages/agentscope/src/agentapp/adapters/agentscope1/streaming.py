"""`agent.stream(msg)`: what an agent prints while it replies, to the one who asked, and to nobody else.

An agent has one message queue. Ours is a router: it looks in the current context for the reader of this very call, so that calls of one
agent at the same time do not mix, and what nobody streams is dropped instead of being kept.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (AgentScope is annotated with bare dicts, lists and queues)

from __future__ import annotations

import asyncio
import functools
import logging
from contextlib import aclosing
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import anyio
from agentscope.message import Msg

from agentapp.serving.growth import Growth
from agentapp.serving.outbound import CHUNK, MESSAGE_ID

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from agentscope.agent import AgentBase
    from anyio.streams.memory import MemoryObjectSendStream

    Printed = tuple[Msg, bool]

logger = logging.getLogger("agentapp")

AHEAD = 16
"""Messages that an agent may be ahead of its reader; then it waits."""
STOP_SECONDS = 10.0
"""So long a stream that is closed waits for its agent to stop; a tool may swallow the cancellation."""
_INTERRUPTED = "_agentapp_interrupted"

_readers: ContextVar[Mapping[int, MemoryObjectSendStream[Printed]]] = ContextVar("agentapp_readers")


class Router:
    """The message queue of one agent, as `AgentBase.print` uses it."""

    def __init__(self, agent: AgentBase) -> None:
        self._agent = id(agent)

    async def put(self, printed: tuple[Msg, bool, Any]) -> None:
        """Give what was printed to the reader of this call, if it has one."""
        reader = _readers.get({}).get(self._agent)
        if reader is not None:
            message, last, _speech = printed
            await reader.send((message, last))


async def stream(self: AgentBase, *args: Any, **kwargs: Any) -> AsyncGenerator[Msg]:
    """Reply as `await agent(...)` does, and yield what is new as it comes: `Msg`s whose content is the next piece.

    Text is a text; thinking, tool calls and tool results are blocks (a tool's result has the role `system`). The metadata has
    `chunk: True` and `message_id`, the same for all pieces of one message. Closing the stream stops the agent and its model.

    Raises:
        Exception: what the agent has raised, after what it has printed.
    """
    if not isinstance(self.msg_queue, Router):
        self.set_msg_queue_enabled(True, Router(self))  # pyright: ignore[reportArgumentType] (what it needs of a queue is `put`)
    self.set_console_output_enabled(False)
    send, receive = anyio.create_memory_object_stream["Printed"](AHEAD)
    context = copy_context()
    context.run(_readers.set, {**_readers.get({}), id(self): send})
    task = asyncio.get_running_loop().create_task(_replied(self, send, args, kwargs), context=context)
    growing: dict[str, Growth] = {}
    try:
        async with aclosing(receive):
            async for message, last in receive:
                if (piece := _piece(growing, message, last)) is not None:
                    yield piece
        reply = await task
        if isinstance(reply, Msg) and reply.id not in growing and (piece := _piece(growing, reply, True)) is not None:
            yield piece
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=STOP_SECONDS)
        if not task.done():
            logger.warning("an agent (%s) was stopped %g s ago, and goes on", type(self).__name__, STOP_SECONDS)
        elif not task.cancelled():
            task.exception()  # whoever closed the stream does not want it


async def _replied(agent: AgentBase, send: MemoryObjectSendStream[Printed], args: Any, kwargs: Any) -> Any:
    async with aclosing(send):
        return await agent(*args, **kwargs)


def _piece(growing: dict[str, Growth], message: Msg, last: bool) -> Msg | None:
    """Return what is new in a message, or None where nothing is."""
    content: Any = growing.setdefault(message.id, Growth()).step(message.content, last)
    if not content:
        return None
    role: Any = message.role
    return Msg(message.name, content, role, {**(message.metadata or {}), CHUNK: True, MESSAGE_ID: message.id})


def answering(original: Callable[..., Awaitable[Msg]]) -> Callable[..., Awaitable[Msg]]:
    """Return `AgentBase.__call__` that takes a cancellation for what it is.

    AgentScope answers every cancellation with a made-up turn in the agent's memory: a client that has left, a timeout and a shutdown
    would be taken for a user's `agent.interrupt()`.
    """

    @functools.wraps(original)
    async def call(self: AgentBase, *args: Any, **kwargs: Any) -> Msg:
        if "handle_interrupt" not in self.__dict__:
            self.handle_interrupt = functools.partial(_cancelled, self)
        setattr(self, _INTERRUPTED, False)
        return await original(self, *args, **kwargs)

    return call


def interrupting(original: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Return `AgentBase.interrupt` that says that it was called."""

    @functools.wraps(original)
    async def interrupt(self: AgentBase, *args: Any, **kwargs: Any) -> None:
        setattr(self, _INTERRUPTED, True)
        await original(self, *args, **kwargs)

    return interrupt


async def _cancelled(agent: AgentBase, *args: Any, **kwargs: Any) -> Msg:
    """Answer a cancellation as the agent's class does, if it was asked for by `agent.interrupt()`; else let it go on."""
    if not getattr(agent, _INTERRUPTED, False):
        raise asyncio.CancelledError
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()  # it was meant for the reply, which is over
    return await type(agent).handle_interrupt(agent, *args, **kwargs)
