"""`process.Process`: start, follow, feed, signal and list processes."""

from __future__ import annotations

import os

from sandkit.guest.envd.commands import Order, Process, start_as
from sandkit.guest.envd.loop import Bell, Channel
from sandkit.guest.envd.rpc import Fields, RpcError
from sandkit.guest.envd.users import DEFAULT, WORKDIR_VARIABLE
from sandkit.guest.light import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sandkit.guest.envd.commands import Follower
    from sandkit.guest.envd.loop import Loop
    from sandkit.guest.envd.rpc import Call, Json, Services, Stream
    from sandkit.guest.envd.users import User

NAME = "process.Process"
_KEPT = 256  # exited processes whose end can still be asked for
_KILL_PATIENCE = 1.0  # seconds
_TERMINAL = (80, 24)
_KEEPALIVE = b'{"event":{"keepalive":{}}}'
_SIGNALS = {"SIGNAL_SIGTERM": signal.SIGTERM, "SIGNAL_SIGKILL": signal.SIGKILL, 15: signal.SIGTERM, 9: signal.SIGKILL}


class Processes:
    """All processes of this guest's clients. `run` must be running: it takes note of those that end."""

    def __init__(self, loop: Loop, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._loop = loop
        self._living: dict[int, Process] = {}
        self._ended: dict[int, Process] = {}
        self._helpers: dict[int, int | None] = {}
        self._buried = Bell(loop)

    async def run(self) -> None:
        """Bury whoever dies."""
        receiving, sending = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        channel = Channel(self._loop, receiving)
        while await channel.read(4096):
            self._bury()

    def _bury(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._helpers:
                self._helpers[pid] = status
                self._buried.ring()
            elif pid in self._living:
                self._loop.spawn(self._finish(self._living[pid], status))

    async def _finish(self, process: Process, status: int) -> None:
        process.status = status
        del self._living[process.pid]
        self._ended.pop(process.pid, None)
        self._ended[process.pid] = process
        while len(self._ended) > _KEPT:
            del self._ended[next(iter(self._ended))]
        await process.finish(status)

    def kill(self) -> None:
        """End all of them at once."""
        for process in self._living.values():
            process.signal(signal.SIGKILL)

    async def helper(self, user: User, command: list[str]) -> tuple[int, str]:
        """Run a program as `user`; return its exit code (128 + n for signal n) and the end of what it wrote to stderr."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        channel = Channel(self._loop, reading)
        try:
            pid = start_as(user, command, self.variables(user, {}), (None, None, writing))
        except OSError:
            channel.close()
            raise
        finally:
            os.close(writing)
        self._helpers[pid] = None
        try:
            said = b""
            while data := await channel.read(4096):
                said = (said + data)[-1024:]
            while (status := self._helpers[pid]) is None:
                await self._buried.wait()
        finally:
            channel.close()
            del self._helpers[pid]
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code, said.decode(errors="replace").strip()

    def variables(self, user: User, envs: Mapping[str, str]) -> dict[str, str]:
        """Return a process' environment: the sandbox's, the user's own facts, what the request adds."""
        own = {"HOME": user.home, "USER": user.name, "LOGNAME": user.name, "SHELL": user.shell}
        default = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        both = {**default, **own, **self.environment} if user.name == DEFAULT else {**default, **self.environment, **own}
        return {**both, **envs}

    def install(self, services: Services) -> None:
        services.add(
            NAME,
            {
                "List": self._list,
                "SendInput": self._send_input,
                "SendSignal": self._send_signal,
                "CloseStdin": self._close_stdin,
                "Update": self._update,
            },
            {"Start": self._start, "Connect": self._connect},
            {"StreamInput": self._stream_input},
        )

    # -- methods -----------------------------------------------------------------------------------------------------------------

    async def _start(self, call: Call, message: Json, stream: Stream) -> None:
        process = Process(self._loop, self._order(call, Fields(message)))
        self._living[process.pid] = process
        self._ended.pop(process.pid, None)
        if call.deadline is not None:
            process.kill_after(call.deadline)
        await self._follow(call, process, stream)

    async def _connect(self, call: Call, message: Json, stream: Stream) -> None:
        await self._follow(call, self._find(Fields(message), ended=True), stream)

    async def _follow(self, call: Call, process: Process, stream: Stream) -> None:
        """Show the process' events to their end."""
        follower = process.follow()
        try:
            await stream.begin()
            await stream.send_json(process.start_event())
            while True:
                await self._wait(call, follower, stream)
                for event in follower.take():
                    await stream.send_json(event)
                    if event is process.end:
                        return
                process.taken()
        finally:
            process.leave(follower)

    async def _wait(self, call: Call, follower: Follower, stream: Stream) -> None:
        """Return when there is something to show; meanwhile say from time to time that we live."""
        while follower.empty:
            try:
                with self._loop.limit(call.keepalive):
                    await follower.bell.wait()
            except TimeoutError:
                await stream.send_json(_KEEPALIVE)

    async def _list(self, _call: Call, _message: Json) -> Json:
        return {"processes": [_info(process) for process in self._living.values() if process.lives]}

    async def _send_input(self, _call: Call, message: Json) -> Json:
        fields = Fields(message)
        await _feed(self._find(fields), fields.child("input"))
        return {}

    async def _stream_input(self, _call: Call, messages: AsyncIterator[Json]) -> Json:
        process: Process | None = None
        async for message in messages:
            fields = Fields(message)
            if fields.has("start"):
                process = self._find(fields.child("start"))
            elif fields.has("data"):
                if process is None:
                    raise RpcError("invalid_argument", "The stream must begin by naming the process.")
                await _feed(process, fields.child("data").child("input"))
            elif not fields.has("keepalive"):
                raise RpcError("unimplemented", "A message is neither start, data nor keepalive.")
        return {}

    async def _send_signal(self, _call: Call, message: Json) -> Json:
        fields = Fields(message)
        process = self._find(fields)
        wanted = message.get("signal")
        number = _SIGNALS.get(wanted) if isinstance(wanted, (int, str)) else None
        if number is None:
            raise RpcError("unimplemented", "The signal must be SIGNAL_SIGTERM or SIGNAL_SIGKILL.")
        process.signal(number)
        if number == signal.SIGKILL:
            await process.gone(_KILL_PATIENCE)  # who kills twice is told the second time that there is nobody
        return {}

    async def _close_stdin(self, _call: Call, message: Json) -> Json:
        await self._find(Fields(message)).close_stdin()
        return {}

    async def _update(self, _call: Call, message: Json) -> Json:
        fields = Fields(message)
        process = self._find(fields)
        if fields.has("pty"):
            process.resize(_size(fields.child("pty")))
        return {}

    # -- reading requests --------------------------------------------------------------------------------------------------------

    def _order(self, call: Call, fields: Fields) -> Order:
        wanted = fields.child("process")
        cmd = wanted.text("cmd")
        if not cmd:
            raise RpcError("invalid_argument", "'cmd' must name a program.")
        user, envs = call.user, wanted.mapping("envs")
        cwd = wanted.text("cwd") or self.environment.get(WORKDIR_VARIABLE)
        order = Order(user, cmd, wanted.texts("args"), cwd=cwd, envs=envs, env=self.variables(user, envs))
        order.tag = fields.text("tag") or None
        order.stdin = fields.flag("stdin", default=True)
        order.size = _size(fields.child("pty")) if fields.has("pty") else None
        return order

    def _find(self, fields: Fields, *, ended: bool = False) -> Process:
        """Return the process that `{"process": {"pid"|"tag"}}` selects, also one that has ended if `ended`.

        Raises:
            RpcError: there is none.
        """
        selector = fields.child("process")
        tables: Sequence[dict[int, Process]] = (self._living, self._ended) if ended else (self._living,)
        for table in tables:
            if selector.has("pid"):
                found = table.get(selector.number("pid"))
            else:
                tag = selector.text("tag")
                found = next((each for each in reversed(table.values()) if tag and each.order.tag == tag), None)
            if found is not None:
                return found
        raise RpcError("not_found", "There is no such process, or it has ended.")


async def _feed(process: Process, fields: Fields) -> None:
    for kind in ("stdin", "pty"):
        if fields.has(kind):
            await process.write(kind, fields.data(kind))
            return
    raise RpcError("unimplemented", "The input must be 'stdin' or 'pty'.")


def _size(pty: Fields) -> tuple[int, int]:
    size = pty.child("size")
    return size.number("cols") or _TERMINAL[0], size.number("rows") or _TERMINAL[1]


def _info(process: Process) -> Json:
    tag = {} if process.order.tag is None else {"tag": process.order.tag}
    return {"config": process.order.config(), "pid": process.pid, **tag}
