"""Answers that grow: server-sent events, and JSON that is waited for. Both beat their heart, and end when their reader leaves."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from starlette.responses import Response

from sandkit.wire.gateway import EVENT_LIMIT, EVENT_TOO_LARGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from starlette.types import Receive, Scope, Send

_EVENT_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_JSON_HEADERS = [(b"content-type", b"application/json")]
_BEAT = b": keep-alive\n\n"


class Line:
    """The way to one reader. Bytes go out in order; each `write` returns when they may be forgotten, so a slow reader slows the writer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = anyio.Lock()
        self._wrote_at = time.monotonic()
        self.began = False

    async def begin(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.began = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, data: bytes, *, last: bool = False) -> None:
        async with self._lock:
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})
            self._wrote_at = time.monotonic()

    async def event(self, event: Mapping[str, Any], number: int | None = None) -> None:
        """Send one event, on one line."""
        data = orjson.dumps(event)
        if len(data) > EVENT_LIMIT:
            data = orjson.dumps({"type": "error", "data": "An event was too large", "error_code": EVENT_TOO_LARGE})
        await self.write((b"" if number is None else b"id: %d\n" % number) + b"data: " + data + b"\n\n")

    async def beat(self, beat: bytes, seconds: float) -> None:
        """Send `beat` whenever nothing was sent for `seconds`; for ever."""
        while True:
            left = self._wrote_at + seconds - time.monotonic()
            if left > 0:
                await anyio.sleep(left)
            else:
                await self.write(beat)


class EventStream(Response):
    """Server-sent events: `produce` writes them to the line; when the reader leaves it is cancelled."""

    def __init__(self, produce: Callable[[Line], Awaitable[None]], heartbeat: float) -> None:
        super().__init__()
        self._produce = produce
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        line = Line(send)
        await line.begin(list(_EVENT_HEADERS))
        await _unless_left(receive, self._whole(line))

    async def _whole(self, line: Line) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(line.beat, _BEAT, self._heartbeat)
            await self._produce(line)
            tasks.cancel_scope.cancel()
        await line.write(b"", last=True)


class AwaitedJson(Response):
    """A JSON document that `work` takes its time for: after each silence a space goes out, which JSON readers skip.

    `work` returns the response where it is done before the first heartbeat; later only its body can still be sent, with status 200.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Response]], heartbeat: float) -> None:
        super().__init__()
        self._work = work
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        working, leaving = asyncio.ensure_future(self._work()), asyncio.ensure_future(_left(receive))
        try:
            began = await self._wait(send, working, leaving)
            if not working.done():
                return
            response = working.result()
            if began:
                await send({"type": "http.response.body", "body": bytes(response.body)})
            else:
                await response(scope, receive, send)
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def _wait(self, send: Send, *ends: asyncio.Future[Any]) -> bool:
        """Wait for one of `ends`; return whether anything was sent meanwhile."""
        began = False
        while not (await asyncio.wait(ends, timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED))[0]:
            if not began:
                await send({"type": "http.response.start", "status": 200, "headers": _JSON_HEADERS})
            began = True
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
        return began


async def _left(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _unless_left(receive: Receive, work: Awaitable[None]) -> None:
    """Do the work, and give it up when the client has closed the connection."""
    failures: list[BaseException] = []

    async def run() -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 (carried out of the task group as it is, not as a group)
            failures.append(error)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await _left(receive)
        tasks.cancel_scope.cancel()
    if failures:
        raise failures[0]
