"""The same as `carrier` for the asynchronous client."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from gateway_sdk import faults
from gateway_sdk.arguments import CONNECT_SECONDS
from gateway_sdk.exceptions import ServiceUnavailableError
from gateway_sdk.flows import Pause, Renew, Send
from gateway_sdk.logs import closed, log_failure, log_reply
from sandkit.http.errors import TransportError
from sandkit.http.messages import Limits, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from gateway_sdk.events import Reading
    from gateway_sdk.flows import Core, Flow, Step
    from gateway_sdk.models import StreamEvent
    from sandkit.http.sender import AsyncSender, StreamedReply

T = TypeVar("T")


class AsyncCarrier:
    """One client's pools of connections, one for each event loop. Tasks may share it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sender: AsyncSender | None = None
        self._closed = False
        self._renewing: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def do(self, flow: Flow[T]) -> T:
        """Carry out a flow whose answers are read whole."""
        return await self._drive(flow, self._whole)

    async def events(self, reading: Reading) -> AsyncGenerator[StreamEvent]:
        """Yield the events of a stream, which is closed when this is."""
        while not reading.ended:
            async with AsyncExitStack() as stack:
                source = await self.opened(self._core.ask(reading.wanted), stack)
                blocks = await stack.enter_async_context(aclosing(self.blocks(source)))
                reading.begin(source.headers)
                try:
                    async for block in blocks:
                        for event in reading.feed(block):
                            yield event
                        if reading.ended:
                            return
                    for event in reading.finish():
                        yield event
                except ServiceUnavailableError as error:
                    reading.cut(error)

    async def opened(self, flow: Flow[Reply], stack: AsyncExitStack) -> StreamedReply:
        """Return the answer that a flow ends with, whose body is still to come; `stack` closes it."""
        found: list[StreamedReply] = []

        async def send(step: Send) -> Reply:
            if not step.streamed:
                return await self._whole(step)
            reply = await stack.enter_async_context(self._connection().open(step.request, timeout=step.seconds))
            if reply.status >= 300:
                return await reply.whole()
            found.append(reply)
            return Reply(reply.status, reply.headers, b"")

        await self._drive(flow, send)
        return found[-1]

    async def blocks(self, source: StreamedReply) -> AsyncGenerator[bytes]:
        """Yield a body as it comes.

        Raises:
            ServiceUnavailableError: it is cut off.
        """
        try:
            async for block in source:
                yield block
        except TransportError as error:
            raise faults.from_transport(error, self._core.credentials.hidden()) from None

    async def close(self) -> None:
        """Close the connections of this event loop; nothing can be sent any more."""
        sender, self._sender, self._closed = self._sender, None, True
        if sender is not None:
            await sender.aclose()

    async def _whole(self, step: Send) -> Reply:
        if not step.lasting:
            return await self._connection().send(step.request, timeout=step.seconds)
        async with AsyncExitStack() as stack:
            request = step.request
            if step.upload is not None:
                file = stack.enter_context(await asyncio.to_thread(step.upload.open))
                request = replace(request, body=step.upload.pieces_async(file))
            reply = await stack.enter_async_context(self._connection().open(request, timeout=step.seconds))
            return await reply.whole()

    async def _drive(self, flow: Flow[T], send: Callable[[Send], Awaitable[Reply]]) -> T:
        """Carry out a flow's steps; `send` is how requests go out."""
        try:
            step = next(flow)
            while True:
                answer, failure = await self._step(step, send)
                step = flow.send(answer) if failure is None else flow.throw(failure)
        except StopIteration as end:
            return end.value

    async def _step(self, step: Step, send: Callable[[Send], Awaitable[Reply]]) -> tuple[Reply | None, TransportError | None]:
        match step:
            case Send():
                return await self._logged(step, send)
            case Pause():
                await asyncio.sleep(step.seconds)
            case Renew():
                async with self._renewing.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                    if self._core.credentials.exchanged is step.old:
                        await self.do(self._core.exchange())
        return None, None

    async def _logged(self, step: Send, send: Callable[[Send], Awaitable[Reply]]) -> tuple[Reply | None, TransportError | None]:
        started = time.perf_counter()
        try:
            reply = await send(step)
        except TransportError as error:
            log_failure(step, error)
            return None, error
        log_reply(step, reply, time.perf_counter() - started)
        return reply, None

    def _connection(self) -> AsyncSender:
        if self._closed:
            raise closed()
        if self._sender is None:
            from sandkit.http.proxies import Proxies  # noqa: PLC0415 (with its user)
            from sandkit.http.sender import AsyncSender  # noqa: PLC0415 (no HTTP library before the first call)

            self._sender = AsyncSender(Limits(connect_timeout=CONNECT_SECONDS, proxies=Proxies.from_environment()))
        return self._sender
