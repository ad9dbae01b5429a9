"""One request and its response: couples a client's connection with a sandbox's, holds back whoever is faster.

    start -> (kept connection | dial) -> request_data* request_end
                                      -> response_head response_data* response_end
Anything that breaks before the response head becomes an error with a sentence; anything after it aborts the client's
connection, so that a cut stream never looks like a whole one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandkit.wire.errors import AGENT_TIMEOUT, SANDBOX_PAUSED, ApiError
from sandyard.domain.errors import PortClosed, SandboxGone
from sandyard.domain.sandboxes import SandboxState
from sandyard.domain.specs import AGENT_PORT, GUEST_PORT
from sandyard.ingress import routing
from sandyard.ingress.heads import body_too_large, finish_request, new_request_id, render_response, request_id_of
from sandyard.ingress.passage import find_passage
from sandyard.ingress.replies import CONTINUE, LAST_CHUNK, chunk, error_reply

if TYPE_CHECKING:
    from sandyard.catalog import Route
    from sandyard.ingress.back import Back
    from sandyard.ingress.front import Front
    from sandyard.ingress.heads import RequestHead, ResponseHead
    from sandyard.ingress.passage import Passage
    from sandyard.ingress.plane import Plane
    from sandyard.ingress.routing import Target

_REPLAYABLE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
_CLOSED_PORT_WAIT = 0.5


class Exchange:
    """Driven by its `Front` (request, flow control) and its `Back` (response); both drop it when it is over.

    `passage` is what the same head led to before; `length` the body's, which may differ from that head's.
    """

    def __init__(self, plane: Plane, front: Front, head: RequestHead, *, length: int | None, passage: Passage | None = None) -> None:
        self.head = head
        self.passage = passage
        self.request_id = request_id_of(head) or new_request_id()
        self.request_done = not head.has_body
        self._plane = plane
        self._front = front
        self._length = length
        self._limit = 0
        self._target: routing.Target | None = None
        self._back: Back | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._request_head = b""
        self._outgoing: list[bytes] = []
        self._incoming: list[bytes] = []
        self._early: list[bytes] = []
        self._received = 0
        self._response: ResponseHead | None = None
        self._rechunk = False
        self._close = False
        self._raw = False
        self._woken = False
        self._over = False

    # --- the request, from the front

    def start(self) -> None:
        """Find out who is asked and send the head, or answer with an error."""
        try:
            passage = self.passage = self._find_passage()
        except ApiError as error:
            if error.problem is SANDBOX_PAUSED and self._target is not None and self._auto_resumes():
                self._task = self._plane.tasks.spawn(self._wake(self._target))
            else:
                self.fail(error)
            return
        self._request_head = finish_request(passage.lines, self._length, self.request_id)
        self._connect(passage.target)

    def _find_passage(self) -> Passage:
        """Return what the head leads to, from memory if it still does.

        Raises:
            ApiError: it leads nowhere, the caller is not admitted, or the body is too large for where it leads.
        """
        plane, passage = self._plane, self.passage
        if passage is None or not passage.holds(plane):
            self._target = routing.find_target(self.head, plane.catalog)
            passage = find_passage(plane, self.head, self._target)
        self._target = passage.target
        self._limit = plane.limits.upload_bytes if self._target.port == GUEST_PORT else plane.limits.body_bytes
        if self._length is not None and self._length > self._limit:
            raise body_too_large(self._limit)
        return passage

    async def _wake(self, target: Target) -> None:
        """Let the sandbox run on, then go on as if it had never been paused. Once: who pauses it again meanwhile wins."""
        self._woken = True
        try:
            await self._plane.wake(target.sandbox_id)
        except ApiError as error:
            self.fail(error)
        else:
            self._task = None
            self.start()

    def request_data(self, data: bytes) -> None:
        if self._over:
            return
        self._received += len(data)
        if self.head.chunked and self._limit and self._received > self._limit:
            self.fail(body_too_large(self._limit))
        else:
            self._send(chunk(data) if self.head.chunked else data)

    def request_end(self) -> None:
        """Every byte of the request has arrived."""
        if self._over or self.request_done:
            return
        self.request_done = True
        if self.head.chunked:
            self._send(LAST_CHUNK)

    def _send(self, data: bytes) -> None:
        if self._back is not None and (self._raw or not self.head.websocket):
            self._outgoing.append(data)
            if not self._front.feeding:
                self.flush_request()
        else:
            self._early.append(data)
            self._front.pause_reading()

    def flush_request(self) -> None:
        """Write what one read of the client's connection has yielded: one system call, one packet."""
        pieces, self._outgoing = self._outgoing, []
        if pieces and self._back is not None:
            self._back.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def client_left(self) -> None:
        """The client's connection is gone: so is, at once, the one to the sandbox."""
        if self._raw and self._back is not None:
            back, self._back = self._back, None
            back.close(self._plane.limits.linger_timeout)
        self._finish()

    # --- the way to the sandbox

    def _connect(self, target: Target) -> None:
        back = self._plane.pool.take(target)
        if back is None:
            self._task = self._plane.tasks.spawn(self._dial(target))
        else:
            self._attach(back)

    async def _dial(self, target: Target) -> None:
        try:
            back = await self._plane.pool.open(target)
        except PortClosed:
            await self._explain_closed(target)
        except (SandboxGone, OSError) as error:
            await self._explain_gone(target, timed_out=isinstance(error, TimeoutError))
        else:
            self._task = None
            self._attach(back)

    def _attach(self, back: Back) -> None:
        if self._over:
            back.abort()
            return
        self._back = back
        back.begin(self)
        self._outgoing = [self._request_head]
        if not self._front.writable:
            back.pause_reading()
        if self.head.expects_continue and not self._early and not self.request_done:
            self._front.write(CONTINUE)
        if not self.head.websocket:
            self._send_early()
        if not self._front.feeding:
            self.flush_request()
        self._watch_response()

    def _send_early(self) -> None:
        early, self._early = self._early, []
        self._outgoing += early
        self._front.resume_reading()

    def _watch_response(self) -> None:
        seconds = self._plane.limits.response_timeout
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._response_late)

    def _response_late(self) -> None:
        route = self._route()
        if route is not None and route.state is SandboxState.PAUSED:
            self._watch_response()  # a frozen sandbox may be silent as long as it likes
        elif self._response is None:
            self.fail(ApiError(AGENT_TIMEOUT, "The agent did not begin its answer in time"))

    # --- the response, from the back

    def response_head(self, head: ResponseHead, length: int | None) -> None:
        """A head has arrived. `length` is that of its body, if it says one."""
        if head.status == 101:
            self._switch(head)
            return
        if head.status < 200:
            if head.status != 100 and self.head.minor == 1:
                self._incoming.append(render_response(head, length, request_id=self.request_id, chunked=False, close=False, minor=1))
            return
        self._response = head
        delimited = head.bodiless or length is not None or self.head.method == b"HEAD"
        self._rechunk = not delimited and self.head.minor == 1
        self._close = self._plane.draining or not self.head.keep_alive or self.head.websocket or not (delimited or self._rechunk)
        self._incoming.append(
            render_response(head, length, request_id=self.request_id, chunked=self._rechunk, close=self._close, minor=self.head.minor)
        )

    def _switch(self, head: ResponseHead) -> None:
        self._response = head
        self._raw = True
        self._incoming.append(render_response(head, head.length, request_id=self.request_id, chunked=False, close=False, minor=1))
        self.flush_response()
        self._front.relay()
        self._send_early()
        self.flush_request()

    def response_data(self, data: bytes) -> None:
        self._incoming.append(chunk(data) if self._rechunk else data)

    def flush_response(self) -> None:
        """Write what one read of the sandbox's connection has yielded."""
        pieces, self._incoming = self._incoming, []
        if pieces:
            self._front.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def response_end(self) -> None:
        response = self._response
        back, self._back = self._back, None
        if back is not None:
            back.release(reusable=response is not None and response.keep_alive and self.request_done)
        if self._rechunk:
            self._incoming.append(LAST_CHUNK)
        self.flush_response()
        self._finish()
        self._front.exchange_over(self, keep=self.request_done and not self._close)

    def back_broke(self) -> None:
        """The sandbox sent something that is no HTTP."""
        back, self._back = self._back, None
        if back is not None:
            back.abort()
        if self._response is None:
            self.fail(routing.agent_crashed(None))
        else:
            self._cut()

    def back_lost(self) -> None:
        """The sandbox closed the connection."""
        back, self._back = self._back, None
        if self._over or back is None or self._target is None:
            return
        if self._raw:
            self._finish()
            self._front.close()
        elif self._response is None:
            self._lost_before_response(back, self._target)
        elif self._response.length is None and not self._response.chunked:
            self._task = self._plane.tasks.spawn(self._end_delimited(self._target))
        else:
            self._cut()

    def _lost_before_response(self, back: Back, target: Target) -> None:
        if back.reused and self.head.method in _REPLAYABLE and not self.head.has_body:
            self._connect(target)  # the sandbox closed a kept connection while we were writing on it; a new one is never `reused`
        else:
            self._task = self._plane.tasks.spawn(self._explain_crash(target))

    async def _end_delimited(self, target: Target) -> None:
        """A body that ends with its connection is whole only if the sandbox still lives: its death looks the same."""
        if await self._lives(target):
            self.response_end()
        else:
            self._cut()

    async def _lives(self, target: Target) -> bool:
        try:
            back = await self._plane.pool.open(target)
        except PortClosed:
            await self._route_change(_CLOSED_PORT_WAIT)
        except (SandboxGone, OSError):
            return False
        else:
            back.abort()
        route = self._route()
        return route is not None and not route.state.final

    # --- what went wrong

    def fail(self, error: ApiError) -> None:
        """Answer with `error`, or cut the response that has already begun."""
        if self._over:
            return
        if self._response is not None:
            self._cut()
            return
        self.flush_response()
        keep = self.request_done and self.head.keep_alive and not self.head.websocket and not self._plane.draining
        self._front.write(
            error_reply(
                error,
                request_id=self.request_id,
                sandbox_id=self._target.sandbox_id if self._target else None,
                close=not keep,
                head_only=self.head.method == b"HEAD",
            )
        )
        self._finish()
        self._front.exchange_over(self, keep=keep)

    def _cut(self) -> None:
        response = self._response
        self.flush_response()
        self._finish()
        self._front.cut(reset=response is not None and response.length is None and not self._rechunk)

    async def _explain_closed(self, target: Target) -> None:
        if target.port == AGENT_PORT:  # it listened when the sandbox was started: perhaps the sandbox is just ending
            await self._route_change(_CLOSED_PORT_WAIT)
        self._fail_by_state(routing.port_closed(target))

    async def _explain_gone(self, target: Target, *, timed_out: bool) -> None:
        if not timed_out:
            await self._route_change(self._plane.limits.crash_wait)
        gone = ApiError(AGENT_TIMEOUT, f"Port {target.port} of the sandbox did not accept a connection in time")
        self._fail_by_state(gone if timed_out else routing.agent_crashed(self._route()))

    def _fail_by_state(self, otherwise: ApiError) -> None:
        route = self._route()
        try:
            if route is not None:
                routing.check_state(route)
        except ApiError as error:
            self.fail(error)
        else:
            self.fail(otherwise)

    async def _explain_crash(self, target: Target) -> None:
        """Wait for the reason of the sandbox's end, if it ended at all, before the caller hears of it."""
        await self._route_change(self._plane.limits.crash_wait)
        self.fail(routing.agent_crashed(self._plane.catalog.get(target.sandbox_id)))

    async def _route_change(self, seconds: float) -> None:
        """Return when the sandbox is known to have ended, or after `seconds`."""
        assert self._target is not None
        try:
            async with asyncio.timeout(seconds):
                while (route := self._route()) is not None and not route.state.final:
                    await self._plane.catalog.changed(self._target.sandbox_id)
        except TimeoutError:
            pass

    def _auto_resumes(self) -> bool:
        route = self._route()
        return route is not None and route.auto_resume and not self._woken

    def _route(self) -> Route | None:
        return None if self._target is None else self._plane.catalog.get(self._target.sandbox_id)

    # --- flow control and the end

    def hold_request(self) -> None:
        self._front.pause_reading()

    def resume_request(self) -> None:
        self._front.resume_reading()

    def hold_response(self) -> None:
        if self._back is not None:
            self._back.pause_reading()

    def resume_response(self) -> None:
        if self._back is not None:
            self._back.resume_reading()

    def _finish(self) -> None:
        """Let go of everything; idempotent."""
        self._over = True
        self._early = []
        if self._timer is not None:
            self._timer.cancel()
        back, self._back = self._back, None
        if back is not None:
            back.abort()
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
