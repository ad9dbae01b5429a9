"""The first process of a sandbox: starts the command, keeps its output, reaps, says how it ended, and ends everything with it.

Without a command the sandbox is its clients': it lives until it is told to end (SIGTERM), and says `listening` as soon as its own
port does.

One thread, one `poll`, no timer but those that are due: an idle guest never wakes. The command runs before anything is imported
that takes time. The guest has no clock for the sandbox's end: an extended life is the keeper's knowledge and does not come in here,
and the agent, of the same uid, could not be held by it anyway.

Inherited descriptors: 3 the configuration (JSON to the end of file), 4 the output file (`output.py`), 5 the status pipe, into which
go the JSON lines `{"event": "listening"}` and `{"event": "exited", "code": int|null, "signal": int|null}`.
"""

from __future__ import annotations

import os
import select
import time

from sandkit.guest.light import decode, make_undumpable, signal
from sandkit.guest.output import CHUNK, Writer
from sandkit.guest.port import PORT, Port, listens
from sandkit.guest.processes import Expendable, kill_others, launch_changed, limit_processes, spawn

CONFIG_FD, OUTPUT_FD, STATUS_FD = 3, 4, 5
GRACE = 5.0  # seconds from SIGTERM to SIGKILL, where the configuration names no `grace`
_DYING = 1.0  # seconds that the killed have to die before we report without them
_FIRST_PAUSE, _LAST_PAUSE = 0.001, 0.008  # between two looks at the ready port
_IN_USE = 98  # EADDRINUSE
_LEFT_OVER = 1024 * 1024  # the most bytes that a pipe holds


class Config:
    """What the keeper asks for: `command`, `cwd`, `env`, `ready_port` (None: nothing to wait for) and `grace` in seconds.

    `user` is as whom the command is to run; None: as ourselves.
    `processes` is how many this sandbox may have, us included, where it is ours to hold it to that; None where something else does.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError, KeyError, TypeError or AttributeError if `text` is no configuration."""
        found = decode(text)
        self.command: list[str] = [str(word) for word in found["command"]]
        self.env: dict[str, str] = {str(name): str(value) for name, value in found["env"].items()}
        self.cwd = str(found["cwd"])
        self.user: str | None = found.get("user")
        self.ready_port: int | None = found.get("ready_port")
        self.grace = float(found.get("grace", GRACE))
        self.processes: int | None = found.get("processes")


class Refused(Exception):  # noqa: N818 (an answer)
    """The command cannot be run as is asked; the message says why."""


def main() -> int:
    """Run the sandbox's command to its end; return the exit status for whoever waits for us.

    As in a shell, 127 is a command that is not there and 126 one that cannot be executed; 125 is our own failure.
    """
    os.closerange(STATUS_FD + 1, os.sysconf("SC_OPEN_MAX"))
    for fd in (OUTPUT_FD, STATUS_FD):
        os.set_inheritable(fd, False)
    output = Writer(OUTPUT_FD)
    try:
        with open(CONFIG_FD, encoding="utf-8") as file:
            config = Config(file.read())
        return Guest(config, output).run()
    except Refused as refusal:
        return _never_ran(output, 126, f"The command could not be started: {refusal}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return _never_ran(output, 125, f"The sandbox's configuration cannot be used: {error!r}.")
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        return _never_ran(output, code, f"The command could not be started: {error.strerror} ({error.filename}).")


def _never_ran(output: Writer, code: int, sentence: str) -> int:
    output.write(f"{sentence}\n".encode())
    output.exited(code, sentence)
    _tell(f'{{"event": "exited", "code": {code}, "signal": null}}')
    return code


def _tell(line: str) -> None:
    """Write a line to whoever watches; nobody does when a keeper has been replaced."""
    try:
        os.write(STATUS_FD, line.encode() + b"\n")
    except OSError:
        return


class Guest:
    """One command, from its start to its end; or none, from our start to SIGTERM.

    Raises:
        OSError, Refused: the command could not be started.
    """

    def __init__(self, config: Config, output: Writer) -> None:
        self._config = config
        self._output = output
        self._status: int | None = None  # the command's, as waitpid gave it
        self._wakeup = _signals()
        self._pipe: int | None = None
        self._agent: int | None = None
        self._port = Port(config.env)
        self._begin()
        self._probe_at = None if config.ready_port is None else time.monotonic()
        self._pause = _FIRST_PAUSE
        self._kill_at: float | None = None

    def run(self) -> int:
        """Serve until the command has ended; then end the rest, report, and return the exit status."""
        while self._status is None:
            self._run_timers(time.monotonic())
            ready = self._wait()
            if self._wakeup in ready:
                self._take_signals()
            if self._pipe in ready:
                self._copy_output()
            if self._port.waiting in ready:
                self._port.serve()
        return self._finish(self._status)

    def _begin(self) -> None:
        """Start the command, when nothing of ours is open to it any more; without one, who serves our clients."""
        if self._config.processes is not None:
            limit_processes(self._config.processes)
        with Expendable():
            make_undumpable()
            if self._config.command:
                self._start()
            elif self._port.waiting is None:
                raise OSError(_IN_USE, "the guest's port is in use", str(PORT))
            else:
                if self._config.ready_port is None:
                    _tell('{"event": "listening"}')  # who connects by now is served when the process below has begun
                self._port.serve()

    def _start(self) -> None:
        receiving, pipe = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(receiving, False)
        self._pipe = receiving
        os.chdir(self._config.cwd)
        self._agent = self._spawn(pipe)
        os.chdir("/")
        os.close(pipe)

    def _spawn(self, pipe: int) -> int:
        """Start the command as its user: who is root inside gives that up for it."""
        command, env, user = self._config.command, self._config.env, self._config.user
        if user is None or (user == "user" and os.getuid() != 0):
            return spawn(command, env, stdin=None, output=pipe)
        from sandkit.guest.envd.users import NoSuchUser, NotMapped, Users, become  # noqa: PLC0415 (where there is a root)

        try:
            found = Users(env).find(user)
        except (NoSuchUser, NotMapped) as error:
            raise Refused(str(error)) from None
        return launch_changed(command, env, (None, pipe, pipe), lambda: become(found))

    def _wait(self) -> set[int | None]:
        """Return the descriptors that have something, when one has or a timer is due."""
        poll = select.poll()
        for fd in (self._wakeup, self._pipe, self._port.waiting):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        due = [at for at in (self._probe_at, self._kill_at, self._port.retry_at) if at is not None]
        timeout = max(0.0, min(due) - time.monotonic()) * 1000 if due else None
        return {fd for fd, _ in poll.poll(timeout)}

    def _run_timers(self, now: float) -> None:
        if self._kill_at is not None and now >= self._kill_at and self._agent is not None:
            self._kill_at = None
            os.kill(self._agent, signal.SIGKILL)
        if self._port.retry_at is not None and now >= self._port.retry_at:
            self._port.retry()
        if self._probe_at is not None and now >= self._probe_at:
            self._probe(now)

    def _probe(self, now: float) -> None:
        """Look whether something listens on the ready port, in growing pauses: nothing could tell us."""
        if listens(self._config.ready_port or 0):
            self._probe_at = None
            _tell('{"event": "listening"}')
        else:
            self._probe_at = now + self._pause
            self._pause = min(self._pause * 2, _LAST_PAUSE)

    def _take_signals(self) -> None:
        asked = signal.SIGTERM in os.read(self._wakeup, 4096)
        if asked and self._agent is None:
            self._status = 0
        elif asked and self._agent is not None and self._kill_at is None:
            os.kill(self._agent, signal.SIGTERM)
            self._kill_at = time.monotonic() + self._config.grace
        self._reap()

    def _reap(self) -> bool:
        """Bury who has died, of our own and of those left to us. Return whether nobody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._agent:
                self._status = status
            elif pid == self._port.pid:
                self._port.died()

    def _copy_output(self) -> int:
        """Move one chunk from the pipe to the file; return its size."""
        if self._pipe is None:
            return 0
        try:
            data = os.read(self._pipe, CHUNK)
        except BlockingIOError:
            return 0
        if data:
            self._output.write(data)
        else:  # the command has closed both its ends, and may well live on
            os.close(self._pipe)
            self._pipe = None
        return len(data)

    def _finish(self, status: int) -> int:
        """End what is left, take what is still in the pipe, then say how it ended."""
        self._end_the_rest()
        left = _LEFT_OVER
        while left > 0 and (size := self._copy_output()):
            left -= size
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            self._output.killed(-code)
            _tell(f'{{"event": "exited", "code": null, "signal": {-code}}}')
            return 128 - code
        self._output.exited(code)
        _tell(f'{{"event": "exited", "code": {code}, "signal": null}}')
        return code

    def _end_the_rest(self) -> None:
        """Whoever outlives the command holds its pipe, and would hold the sandbox."""
        self._port.end()
        kill_others([self._agent] if self._agent is not None else [])
        deadline = time.monotonic() + _DYING
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        while not self._reap() and (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                os.read(self._wakeup, 4096)


def _signals() -> int:
    """Return a descriptor that tells of SIGCHLD and SIGTERM. As pid 1 we would never see SIGTERM without a handler."""
    receiving, sending = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, _ignore)
    return receiving


def _ignore(_number: int, _frame: object) -> None:
    """Let the wake-up descriptor tell."""
