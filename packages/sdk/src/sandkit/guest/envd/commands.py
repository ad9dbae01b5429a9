"""The processes that clients start: their descriptors, their output shared out to those who follow it, and their end.

Output is read from the pipe only while each follower has room, so a slow reader slows the process down, as a pipe does, and nothing
grows. Where nobody follows, output is read and dropped. A process outlives those who follow it.
"""

from __future__ import annotations

import binascii
import fcntl
import os
import struct

from sandkit.guest.envd.loop import Bell, Channel, Lock
from sandkit.guest.envd.rpc import RpcError
from sandkit.guest.envd.users import Acting, become, is_other
from sandkit.guest.light import encode, signal
from sandkit.guest.processes import launch, launch_changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sandkit.guest.envd.loop import Loop
    from sandkit.guest.envd.users import User
    from sandkit.guest.processes import Source

_CHUNK = 64 * 1024  # bytes of output in one event, and what a pipe holds
_ROOM = 256 * 1024  # bytes of events that a follower may be behind
_STRAGGLE = 0.1  # seconds that output may take to end after the process: its children may hold the pipe for ever
_SET_SIZE = 0x5414  # TIOCSWINSZ
_TERMINAL_NUMBER = 0x80045430  # TIOCGPTN
_UNLOCK_TERMINAL = 0x40045431  # TIOCSPTLCK


class Order:
    """What a client wants started. `size` is the terminal's (columns, rows), None for pipes."""

    __slots__ = ("args", "cmd", "cwd", "env", "envs", "size", "stdin", "tag", "user")

    def __init__(self, user: User, cmd: str, args: list[str], *, cwd: str | None, envs: dict[str, str], env: Mapping[str, str]) -> None:
        self.user = user
        self.cmd = cmd
        self.args = args
        self.cwd = cwd
        self.envs = envs
        self.env = env
        self.tag: str | None = None
        self.stdin = True
        self.size: tuple[int, int] | None = None

    def config(self) -> dict[str, Any]:
        """Return it as `List` shows it."""
        return {"cmd": self.cmd, "args": self.args, "envs": self.envs, **({} if self.cwd is None else {"cwd": self.cwd})}


class Follower:
    """One stream that shows a process' events; they are JSON already."""

    def __init__(self, loop: Loop) -> None:
        self._events: list[bytes] = []
        self._size = 0
        self.bell = Bell(loop)

    @property
    def full(self) -> bool:
        return self._size >= _ROOM

    @property
    def empty(self) -> bool:
        return not self._events

    def put(self, event: bytes) -> None:
        self._events.append(event)
        self._size += len(event)
        self.bell.ring()

    def take(self) -> list[bytes]:
        events, self._events, self._size = self._events, [], 0
        return events


class Process:
    """A started process. `end` is its last event, once there is one.

    Raises:
        RpcError: it could not be started, and whose mistake that is.
    """

    def __init__(self, loop: Loop, order: Order) -> None:
        self.order = order
        self.end: bytes | None = None
        self.status: int | None = None
        self._loop = loop
        self._followers: list[Follower] = []
        self._room = Bell(loop)
        self._changed = Bell(loop)
        self._writing = Lock(loop)
        self._settled = 0
        self._open = 0
        self._stdin: Channel | None = None
        self._outputs: dict[str, Channel] = {}
        self.pid = self._start_on_terminal(order.size) if order.size else self._start_on_pipes()
        self._timer = None
        for kind, channel in self._outputs.items():
            self._open += 1
            loop.spawn(self._pump(kind, channel))

    # -- beginning ---------------------------------------------------------------------------------------------------------------

    def _start_on_pipes(self) -> int:
        theirs: list[int] = []
        ours: list[int] = []
        try:
            for number in range(0 if self.order.stdin else 1, 3):
                reading, writing = os.pipe2(os.O_CLOEXEC)
                theirs.append(writing if number else reading)
                ours.append(reading if number else writing)
            standard = theirs if self.order.stdin else [None, *theirs]
            pid = self._launch((standard[0], standard[1], standard[2]))
        except BaseException:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        channels = [Channel(self._loop, fd) for fd in ours]
        self._outputs = {"stderr": channels.pop(), "stdout": channels.pop()}
        self._stdin = channels.pop() if channels else None
        return pid

    def _start_on_terminal(self, size: tuple[int, int]) -> int:
        with Acting(self.order.user):  # the terminal is the user's
            master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(master, _UNLOCK_TERMINAL, struct.pack("i", 0))
            number = struct.unpack("i", fcntl.ioctl(master, _TERMINAL_NUMBER, b"\0\0\0\0"))[0]
            _resize(master, size)
            pid = self._launch((f"/dev/pts/{number}", 0, 0))
        except BaseException:
            os.close(master)
            raise
        self._stdin = self._outputs["pty"] = Channel(self._loop, master)
        return pid

    def _launch(self, standard: tuple[Source, Source, Source]) -> int:
        order = self.order
        where = order.user.path(order.cwd or "")
        try:
            with Acting(order.user):
                os.chdir(where)
        except OSError as error:
            raise RpcError("invalid_argument", f"The working directory {where!r} cannot be used: {error.strerror}.") from None
        try:
            return start_as(order.user, [order.cmd, *order.args], order.env, standard)
        except ValueError as error:
            raise RpcError("invalid_argument", f"The process cannot be started: {error}.") from None
        except OSError as error:
            raise RpcError("invalid_argument", f"The process {order.cmd!r} cannot be started: {error.strerror}.") from None
        finally:
            os.chdir("/")

    # -- its life ----------------------------------------------------------------------------------------------------------------

    @property
    def lives(self) -> bool:
        return self.status is None

    def start_event(self) -> bytes:
        return b'{"event":{"start":{"pid":%d}}}' % self.pid

    def follow(self) -> Follower:
        """Return a new follower of what comes from now on."""
        follower = Follower(self._loop)
        self._followers.append(follower)
        if self.end is not None:
            follower.put(self.end)
        return follower

    def leave(self, follower: Follower) -> None:
        self._followers.remove(follower)
        self._room.ring()

    def taken(self) -> None:
        """Tell that a follower has taken its events."""
        self._room.ring()

    async def write(self, kind: str, data: bytes) -> None:
        """Give `data` to its standard input ("stdin") or its terminal ("pty"); return when it has taken all.

        Raises:
            RpcError: it has no such input, or not any more.
        """
        async with self._writing:
            channel = self._stdin
            if channel is None or channel.closed or not self.lives or (kind == "pty") != (self.order.size is not None):
                raise RpcError("failed_precondition", f"The process {self.pid} has no open {kind}.")
            try:
                channel.unsent = memoryview(b"")  # of a call that gave up
                await channel.write(data)
            except OSError:
                raise RpcError("failed_precondition", f"The process {self.pid} has closed its {kind}.") from None

    async def close_stdin(self) -> None:
        """End its standard input, after all that was written before.

        Raises:
            RpcError: its input is a terminal.
        """
        if self.order.size is not None:
            raise RpcError("failed_precondition", "A terminal's input has no end of its own: send it Ctrl-D (\\x04).")
        async with self._writing:
            if self._stdin is not None:
                self._stdin.close()

    def resize(self, size: tuple[int, int]) -> None:
        """Raises RpcError where it has no terminal."""
        if self.order.size is None or self._stdin is None or self._stdin.closed:
            raise RpcError("failed_precondition", f"The process {self.pid} has no terminal.")
        _resize(self._stdin.fd, size)

    def signal(self, number: int) -> None:
        """Signal it and what it has started in its process group."""
        if self.lives:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return

    async def gone(self, seconds: float) -> None:
        """Return when it has exited, or after `seconds`: one that hangs in the kernel dies later."""
        try:
            with self._loop.limit(seconds):
                while self.lives:
                    await self._changed.wait()
        except TimeoutError:
            return

    def kill_after(self, seconds: float) -> None:
        self._timer = self._loop.after(seconds, lambda: self.signal(signal.SIGKILL))

    # -- output and end ----------------------------------------------------------------------------------------------------------

    async def _pump(self, kind: str, channel: Channel) -> None:
        """Share out what comes from one descriptor, to its end."""
        before = b'{"event":{"data":{"%b":"' % kind.encode()
        seen_after_exit = 0
        while True:
            while any(follower.full for follower in self._followers):
                await self._room.wait()
            try:
                data = os.read(channel.fd, _CHUNK)
            except BlockingIOError:
                seen_after_exit = self._settle(seen_after_exit, _CHUNK)
                await channel.readable.wait()
                continue
            except OSError:
                data = b""  # a terminal that nobody has open any more
            if not data:
                break
            if self._followers:
                event = before + binascii.b2a_base64(data, newline=False) + b'"}}}'
                for follower in self._followers:
                    follower.put(event)
            seen_after_exit = self._settle(seen_after_exit, len(data))
            await self._loop.turn()
        self._open -= 1
        self._settle(seen_after_exit, _CHUNK)
        if kind != "pty":
            channel.close()
        self._changed.ring()

    def _settle(self, seen: int, size: int) -> int:
        """Note what one pump has seen since the exit: once it is empty, or a pipe's fill is read, the process' own output is out."""
        if self.status is None or seen >= _CHUNK:
            return seen
        if seen + size >= _CHUNK:
            self._settled += 1
            self._changed.ring()
        return seen + size

    async def finish(self, status: int) -> None:
        """It has exited with `status`, as waitpid gave it: bring out the last output, then the end."""
        self.status = status
        self._changed.ring()
        if self._timer is not None:
            self._timer.cancel()
        for channel in self._outputs.values():
            channel.readable.ring()
        while self._open and self._settled < len(self._outputs):
            await self._changed.wait()
        try:
            with self._loop.limit(_STRAGGLE):
                while self._open:
                    await self._changed.wait()
        except TimeoutError:
            pass  # what its children still say is dropped; their pipe stays open, lest they die of writing
        if self._stdin is not None:
            self._stdin.close()
        self.end = encode({"event": {"end": _end(status)}}).encode()
        for follower in self._followers:
            follower.put(self.end)


def start_as(user: User, command: list[str], env: Mapping[str, str], standard: tuple[Source, Source, Source]) -> int:
    """Start a program as `user`; return its pid.

    Raises:
        OSError, ValueError: as `launch`.
    """
    if is_other(user):
        return launch_changed(command, env, standard, lambda: become(user))
    return launch(command, env, standard)


def _resize(fd: int, size: tuple[int, int]) -> None:
    columns, rows = size
    fcntl.ioctl(fd, _SET_SIZE, struct.pack("HHHH", min(rows, 0xFFFF), min(columns, 0xFFFF), 0, 0))


def _end(status: int) -> dict[str, Any]:
    """Return how it ended, in the words of Go's ProcessState, which clients show."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        text = f"exit status {code}"
        return {"exitCode": code, "exited": True, "status": text, **({"error": text} if code else {})}
    text = f"signal: {(signal.strsignal(-code) or str(-code)).lower()}{' (core dumped)' if os.WCOREDUMP(status) else ''}"
    return {"exitCode": -1, "exited": False, "status": text, "error": text}
