"""A small event loop over epoll for coroutines: what the guest needs of asyncio, without the 30 ms and 5 MB of importing it.

One thread. A task that waits hangs on a `Bell` and looks at its condition again whenever it is woken, so a wake-up too many is
harmless. Descriptors are registered once, edge-triggered: who gets EAGAIN waits for the bell, who does not never asks the kernel.
Nothing runs while nothing happens: `epoll.poll` has a time-out only where a timer is due.
"""

from __future__ import annotations

import heapq
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType
    from typing import Any

_EDGE = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_READABLE = select.EPOLLIN | _ENDED
_WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
_EVENTS = 256  # taken from the kernel at once
_FEW_TIMERS = 64  # below it nobody looks for those that were cancelled


class Cancelled(BaseException):
    """Thrown into a task that is to end."""


class _Park:
    """Awaiting it gives the turn away until somebody wakes the task."""

    def __await__(self) -> Generator[None, None, None]:
        yield


_park = _Park()


class Timer:
    """Calls `action` once, unless cancelled before."""

    __slots__ = ("action", "at")

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def __lt__(self, other: Timer) -> bool:
        return self.at < other.at

    def cancel(self) -> None:
        self.action = None


class Task:
    """One coroutine on its way. `done` is rung when it has ended."""

    __slots__ = ("_coroutine", "_loop", "_queued", "done", "ended", "thrown")

    def __init__(self, loop: Loop, coroutine: Coroutine[Any, None, None]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._queued = False
        self.thrown: BaseException | None = None
        self.ended = False
        self.done = Bell(loop)

    def wake(self) -> None:
        if not (self._queued or self.ended):
            self._queued = True
            self._loop.ready.append(self)

    def throw(self, error: BaseException) -> None:
        """Raise `error` where the task waits, or at its next wait."""
        self.thrown = error
        self.wake()

    def cancel(self) -> None:
        self.throw(Cancelled())

    def step(self) -> None:
        """Run until the next wait. An error that nobody expected ends this task only, and is told on stderr."""
        self._queued = False
        error, self.thrown = self.thrown, None
        try:
            if error is None:
                self._coroutine.send(None)
            else:
                self._coroutine.throw(error)
        except (StopIteration, Cancelled):
            pass
        except Exception as trouble:  # noqa: BLE001 (a task's own end: see above)
            sys.stderr.write(f"guest: {trouble!r}\n")
        else:
            return
        self.ended = True
        self.done.ring()


class Bell:
    """Those who wait for something to change. They look again themselves whether it has."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: list[Task] = []

    def ring(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for task in waiting:
                task.wake()

    async def wait(self) -> None:
        task = self._loop.current
        self._waiting.append(task)
        try:
            await _park
        finally:
            if task in self._waiting:
                self._waiting.remove(task)


class Limit:
    """`with loop.limit(seconds)`: TimeoutError if the block takes longer. None is no limit."""

    __slots__ = ("_error", "_fired", "_loop", "_seconds", "_task", "_timer")

    def __init__(self, loop: Loop, seconds: float | None) -> None:
        self._loop = loop
        self._seconds = seconds
        self._error = Cancelled()
        self._fired = False
        self._timer: Timer | None = None

    def __enter__(self) -> None:
        self._task = self._loop.current
        if self._seconds is not None:
            self._timer = self._loop.after(self._seconds, self._fire)

    def _fire(self) -> None:
        self._fired = True
        self._task.throw(self._error)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task.thrown is self._error:
            self._task.thrown = None
        if self._fired and error is self._error:
            raise TimeoutError from None


class Lock:
    """One task at a time, in the order of asking."""

    __slots__ = ("_bell", "_held")

    def __init__(self, loop: Loop) -> None:
        self._bell = Bell(loop)
        self._held = False

    async def __aenter__(self) -> None:
        while self._held:
            await self._bell.wait()
        self._held = True

    async def __aexit__(self, *_: object) -> None:
        self._held = False
        self._bell.ring()


class Channel:
    """A non-blocking descriptor that epoll knows: a socket, a pipe, a terminal, inotify. Owned: `close` closes it.

    `gone` is true once the other side has left, or will say nothing more; `watcher` is then cancelled. `unsent` is what a `write`
    that was broken off has left; the next one begins with it, so that a stream's framing stays whole.
    """

    __slots__ = ("_loop", "fd", "gone", "readable", "unsent", "watcher", "writable")

    def __init__(self, loop: Loop, fd: int) -> None:
        self.fd = fd
        self.gone = False
        self.unsent = memoryview(b"")
        self.watcher: Task | None = None
        self.readable = Bell(loop)
        self.writable = Bell(loop)
        self._loop = loop
        os.set_blocking(fd, False)
        loop.register(self)

    @property
    def closed(self) -> bool:
        return self.fd < 0

    def notice(self, events: int) -> None:
        """Take what epoll has found."""
        if events & _ENDED:
            self.gone = True
            if self.watcher is not None:
                self.watcher.cancel()
        if events & _READABLE:
            self.readable.ring()
        if events & _WRITABLE:
            self.writable.ring()

    async def read(self, size: int) -> bytes:
        """Return what is there, at most `size` bytes; nothing at the end.

        Raises:
            OSError: the other side broke off.
        """
        while True:
            try:
                return os.read(self._open(), size)
            except BlockingIOError:
                await self.readable.wait()

    async def write(self, data: bytes | memoryview) -> None:
        """Return when everything has been taken.

        Raises:
            OSError: the other side has left.
        """
        for view in (self.unsent, memoryview(data)):
            self.unsent = view
            while self.unsent:
                try:
                    self.unsent = self.unsent[os.write(self._open(), self.unsent) :]
                except BlockingIOError:
                    await self.writable.wait()

    async def send_file(self, source: int, offset: int, count: int) -> int:
        """Send `count` bytes of an open file without copying them here; return how many there were.

        Raises:
            OSError: the other side has left, or the file cannot be read.
        """
        sent = 0
        while sent < count:
            try:
                moved = os.sendfile(self._open(), source, offset + sent, min(count - sent, 1 << 20))
            except BlockingIOError:
                await self.writable.wait()
                continue
            if moved == 0:
                break
            sent += moved
            await self._loop.turn()
        return sent

    def close(self) -> None:
        if self.fd >= 0:
            self._loop.forget(self)
            os.close(self.fd)
            self.fd = -1
            self.readable.ring()
            self.writable.ring()

    def _open(self) -> int:
        if self.fd < 0:
            raise BrokenPipeError("closed")
        return self.fd


class Loop:
    """Runs tasks until `run`'s one has ended. `current` is the task whose turn it is."""

    def __init__(self) -> None:
        self.ready: list[Task] = []
        self.current: Task
        self._epoll = select.epoll()
        self._channels: dict[int, Channel] = {}
        self._timers: list[Timer] = []
        self._many_timers = _FEW_TIMERS

    def spawn(self, coroutine: Coroutine[Any, None, None]) -> Task:
        """Begin a task; its first turn comes soon."""
        task = Task(self, coroutine)
        task.wake()
        return task

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call `action` in `seconds`."""
        if len(self._timers) > self._many_timers:
            self._timers = [timer for timer in self._timers if timer.action is not None]
            heapq.heapify(self._timers)
            self._many_timers = 2 * len(self._timers) + _FEW_TIMERS
        timer = Timer(time.monotonic() + seconds, action)
        heapq.heappush(self._timers, timer)
        return timer

    def limit(self, seconds: float | None) -> Limit:
        return Limit(self, seconds)

    async def turn(self) -> None:
        """Let the others have a turn."""
        self.current.wake()
        await _park

    def run(self, coroutine: Coroutine[Any, None, None]) -> None:
        """Return when `coroutine` has."""
        main = self.spawn(coroutine)
        while not main.ended:
            for fd, events in self._epoll.poll(self._pause(), _EVENTS):
                channel = self._channels.get(fd)
                if channel is not None:
                    channel.notice(events)
            self._run_timers()
            ready, self.ready = self.ready, []
            for task in ready:
                self.current = task
                task.step()

    def register(self, channel: Channel) -> None:
        self._channels[channel.fd] = channel
        self._epoll.register(channel.fd, _EDGE)

    def forget(self, channel: Channel) -> None:
        if self._channels.pop(channel.fd, None) is not None:
            self._epoll.unregister(channel.fd)

    def _pause(self) -> float | None:
        if self.ready:
            return 0
        while self._timers and self._timers[0].action is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0].at - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        while self._timers and (self._timers[0].action is None or self._timers[0].at <= time.monotonic()):
            action = heapq.heappop(self._timers).action
            if action is not None:
                action()
