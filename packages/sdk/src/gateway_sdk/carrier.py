"""What carries a flow's steps out for the synchronous client: it sends, waits and reads, and decides nothing."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from gateway_sdk import faults
from gateway_sdk.arguments import CONNECT_SECONDS
from gateway_sdk.exceptions import ServiceUnavailableError
from gateway_sdk.flows import Pause, Renew, Send
from gateway_sdk.logs import closed, log_failure, log_reply
from sandkit.http.errors import TransportError
from sandkit.http.messages import Limits, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from gateway_sdk.events import Reading
    from gateway_sdk.flows import Core, Flow, Step
    from gateway_sdk.models import StreamEvent
    from sandkit.http.sync_sender import SyncSender, SyncStreamedReply

T = TypeVar("T")


class Carrier:
    """One client's pool of connections, made when it is first needed. Threads may share it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sender: SyncSender | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._renewing = threading.Lock()

    def do(self, flow: Flow[T]) -> T:
        """Carry out a flow whose answers are read whole."""
        return self._drive(flow, self._whole)

    def events(self, reading: Reading) -> Generator[StreamEvent]:
        """Yield the events of a stream, which is closed when this is."""
        while not reading.ended:
            with ExitStack() as stack:
                source = self.opened(self._core.ask(reading.wanted), stack)
                reading.begin(source.headers)
                try:
                    for block in self.blocks(source):
                        yield from reading.feed(block)
                        if reading.ended:
                            return
                    yield from reading.finish()
                except ServiceUnavailableError as error:
                    reading.cut(error)

    def opened(self, flow: Flow[Reply], stack: ExitStack) -> SyncStreamedReply:
        """Return the answer that a flow ends with, whose body is still to come; `stack` closes it."""
        found: list[SyncStreamedReply] = []

        def send(step: Send) -> Reply:
            if not step.streamed:
                return self._whole(step)
            reply = stack.enter_context(self._connection().open(step.request, timeout=step.seconds))
            if reply.status >= 300:
                return reply.whole()
            found.append(reply)
            return Reply(reply.status, reply.headers, b"")

        self._drive(flow, send)
        return found[-1]

    def blocks(self, source: SyncStreamedReply) -> Generator[bytes]:
        """Yield a body as it comes.

        Raises:
            ServiceUnavailableError: it is cut off.
        """
        try:
            yield from source
        except TransportError as error:
            raise faults.from_transport(error, self._core.credentials.hidden()) from None

    def close(self) -> None:
        """Close the connections; nothing can be sent any more."""
        with self._lock:
            sender, self._sender, self._closed = self._sender, None, True
        if sender is not None:
            sender.close()

    def _whole(self, step: Send) -> Reply:
        if not step.lasting:
            return self._connection().send(step.request, timeout=step.seconds)
        with ExitStack() as stack:
            request = step.request
            if step.upload is not None:
                request = replace(request, body=step.upload.pieces(stack.enter_context(step.upload.open())))
            return stack.enter_context(self._connection().open(request, timeout=step.seconds)).whole()

    def _drive(self, flow: Flow[T], send: Callable[[Send], Reply]) -> T:
        """Carry out a flow's steps; `send` is how requests go out."""
        try:
            step = next(flow)
            while True:
                answer, failure = self._step(step, send)
                step = flow.send(answer) if failure is None else flow.throw(failure)
        except StopIteration as end:
            return end.value

    def _step(self, step: Step, send: Callable[[Send], Reply]) -> tuple[Reply | None, TransportError | None]:
        match step:
            case Send():
                return self._logged(step, send)
            case Pause():
                time.sleep(step.seconds)
            case Renew():
                with self._renewing:
                    if self._core.credentials.exchanged is step.old:
                        self.do(self._core.exchange())
        return None, None

    def _logged(self, step: Send, send: Callable[[Send], Reply]) -> tuple[Reply | None, TransportError | None]:
        started = time.perf_counter()
        try:
            reply = send(step)
        except TransportError as error:
            log_failure(step, error)
            return None, error
        log_reply(step, reply, time.perf_counter() - started)
        return reply, None

    def _connection(self) -> SyncSender:
        with self._lock:
            if self._closed:
                raise closed()
            if self._sender is None:
                from sandkit.http.proxies import Proxies  # noqa: PLC0415 (with its user)
                from sandkit.http.sync_sender import SyncSender  # noqa: PLC0415 (no HTTP library before the first call)

                self._sender = SyncSender(Limits(connect_timeout=CONNECT_SECONDS, proxies=Proxies.from_environment()))
            return self._sender
