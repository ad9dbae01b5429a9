"""One message, from the caller to the app and back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio

from agentapp.app import SessionContext
from agentapp.serving.faults import refusal
from agentapp.serving.outbound import DONE, Outbound
from sandkit.serving.handlers import Handler, stream_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectSendStream

    from agentapp.serving.inbound import Inbound
    from agentapp.serving.instances import Instances
    from agentapp.serving.outbound import Message
    from agentapp.sessions import Sessions
    from sandkit.serving.threads import Threads

_AHEAD = 16
"""Messages that an answer which is finished anyway may be ahead of its reader."""


class Turns:
    """Answers messages. `make_message` makes an inbound message what apps get; `redacted` takes secrets out of texts."""

    def __init__(
        self,
        instances: Instances,
        sessions: Sessions,
        threads: Threads,
        *,
        make_message: Callable[[Inbound], Any],
        redacted: Callable[[str], str],
    ) -> None:
        self._instances = instances
        self._sessions = sessions
        self._threads = threads
        self._make_message = make_message
        self._redacted = redacted
        self.total = 0
        self.active = 0
        self._ended = anyio.Event()

    async def answer(self, inbound: Inbound) -> AsyncGenerator[Message]:
        """Yield the messages of an answer; the last one says that it is done. Closing it stops the app's work at once.

        Raises:
            Refusal: the app, a model or a store failed; it has the HTTP status and a code.
        """
        context = inbound.context
        self.total += 1
        self.active += 1
        try:
            async with self._instances.lent((context.tenant_id, context.session_id)) as loan, self._sessions.turn(context):
                try:
                    async for message in self._worked(loan.app, inbound):
                        yield message
                except (asyncio.CancelledError, GeneratorExit):
                    loan.spoilt = True
                    raise
            yield DONE
        except Exception as error:
            raise refusal(error, self._redacted) from error
        finally:
            self.active -= 1
            self._ended.set()
            self._ended = anyio.Event()

    async def rest(self, seconds: float) -> None:
        """Wait until nothing is being answered, for so long at most: answers that are finished anyway have no connection any more."""
        with anyio.move_on_after(seconds):
            while self.active:
                await self._ended.wait()

    async def _worked(self, app: Any, inbound: Inbound) -> AsyncGenerator[Message]:
        outbound = Outbound()
        result = await Handler(app.__call__, SessionContext)(self._make_message(inbound), lambda: inbound.context, self._threads)
        chunks = stream_of(result, self._threads)
        if chunks is None:
            for message in outbound.messages(result):
                yield message
            return
        async with aclosing(_closable(chunks)) as values:
            async for value in values:
                for message in outbound.messages(value):
                    yield message


async def _closable(chunks: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    """Yield what `chunks` does, and close them with itself."""
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def finished(messages: AsyncGenerator[Message], tasks: TaskGroup) -> AsyncGenerator[Message]:
    """Yield an answer that is finished also where nobody reads it to its end: a task of `tasks` works it off."""
    send, receive = anyio.create_memory_object_stream["Message | Exception"](_AHEAD)
    tasks.start_soon(_work_off, messages, send)
    async with receive:
        async for message in receive:
            if isinstance(message, Exception):
                raise message
            yield message


async def _work_off(messages: AsyncGenerator[Message], send: MemoryObjectSendStream[Message | Exception]) -> None:
    reader = True
    async with send, aclosing(messages):
        try:
            async for message in messages:
                reader = reader and await _told(send, message)
        except Exception as error:  # noqa: BLE001 (it is the reader's)
            await _told(send, error)


async def _told(send: MemoryObjectSendStream[Message | Exception], message: Message | Exception) -> bool:
    """Tell the reader; False if it has left."""
    try:
        await send.send(message)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return False
    return True
