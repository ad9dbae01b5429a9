"""Starting and ending processes, as pid 1 of a sandbox does."""

from __future__ import annotations

import os

from sandkit.guest.light import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Source = int | str | None

_EXPENDABLE = b"500"  # of 1000
_STANDARD = [number for number in range(1, 32) if number not in (signal.SIGKILL, signal.SIGSTOP)]
"""What can be ignored: Python ignores two, and a shell that started the server in the background two more."""


def spawn(command: list[str], env: Mapping[str, str], *, stdin: int | None, output: int | None) -> int:
    """Start `command` in a session of its own; return its pid. A descriptor that is None is /dev/null.

    It inherits descriptors 0, 1 and 2 only, for all of ours are close-on-exec, and the default action of every signal.

    Raises:
        OSError: it could not be executed; `filename` names what is missing.
    """
    return launch(command, env, (stdin, output, output))


def launch(command: list[str], env: Mapping[str, str], standard: tuple[Source, Source, Source]) -> int:
    """As `spawn`, with a source for each of the descriptors 0, 1, 2: a descriptor, the path of a device, or None for /dev/null.

    A terminal that is opened so becomes the new session's controlling one.

    Raises:
        OSError: it could not be executed; `filename` names what is missing.
        ValueError: an argument or a variable cannot be handed over (it holds a NUL).
    """
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = []
    for fd, source in enumerate(standard):
        if isinstance(source, int):
            actions.append((os.POSIX_SPAWN_DUP2, source, fd))
        else:
            actions.append((os.POSIX_SPAWN_OPEN, fd, source or "/dev/null", os.O_RDWR, 0))
    os.environ["PATH"] = env.get("PATH", os.defpath)  # posix_spawnp looks into ours
    return os.posix_spawnp(command[0], command, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_STANDARD)


def limit_processes(most: int) -> None:
    """Hold our user namespace to that many processes and threads, for good (Linux 5.14 counts each namespace alone)."""
    import resource  # noqa: PLC0415 (only where no control group does it)

    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (bound, bound))


def launch_changed(command: list[str], env: Mapping[str, str], standard: tuple[Source, Source, Source], change: Callable[[], None]) -> int:
    """As `launch`, with `change` called in the new process before it executes: it becomes another user there, never we.

    Raises:
        OSError, ValueError: as `launch`, or `change` failed.
    """
    hearing, telling = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        os.close(hearing)
        os.close(telling)
        raise
    if pid == 0:
        _execute(command, env, standard, change, telling)
    os.close(telling)
    failure = os.read(hearing, 2048)  # its end is the execution
    os.close(hearing)
    if failure:
        os.waitpid(pid, 0)
        number, _, text = failure.decode(errors="replace").partition(" ")
        raise OSError(int(number), os.strerror(int(number)), command[0]) if number != "0" else ValueError(text)
    return pid


def _execute(
    command: list[str], env: Mapping[str, str], standard: tuple[Source, Source, Source], change: Callable[[], None], telling: int
) -> None:
    """Become the program, in the forked process. Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        for number in [number for number in _STANDARD if signal.getsignal(number) == signal.SIG_IGN]:  # an execution resets the others
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        for fd, source in enumerate(standard):
            os.dup2(source if isinstance(source, int) else os.open(source or "/dev/null", os.O_RDWR | os.O_CLOEXEC), fd)
        change()
        _search(command, env)
    except OSError as error:
        os.write(telling, f"{error.errno} ".encode())
    except BaseException as error:  # noqa: BLE001 (nothing of ours may run on in this process)
        os.write(telling, f"0 {error}".encode(errors="replace")[:1024])
    finally:
        os._exit(127)


def _search(command: list[str], env: Mapping[str, str]) -> None:
    """Execute the program, looked for in the PATH that it will have. (`os.execvpe` imports `warnings` for it.)

    Raises:
        OSError: it is nowhere, or cannot be executed.
    """
    if "/" in command[0]:
        os.execve(command[0], command, env)  # noqa: S606 (a client's command is the point)
    refused: OSError = FileNotFoundError(2, "not found", command[0])
    for directory in env.get("PATH", os.defpath).split(":"):
        try:
            os.execve(f"{directory or '.'}/{command[0]}", command, env)  # noqa: S606 (as above)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused = error
    raise refused


class Expendable:
    """While open, what this process starts is the first to go when memory runs out, and not this process.

    To be opened before `make_undumpable`: afterwards our /proc entries belong to root.
    """

    def __init__(self) -> None:
        try:
            self._fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1  # no /proc: only the order of the victims changes

    def __enter__(self) -> None:
        self._write(_EXPENDABLE)

    def __exit__(self, *_: object) -> None:
        self._write(b"0")
        if self._fd >= 0:
            os.close(self._fd)

    def _write(self, score: bytes) -> None:
        try:
            os.write(self._fd, score)
        except OSError:
            return


def kill_others(sessions: Iterable[int]) -> None:
    """Kill every other process of the sandbox.

    Where we are not pid 1 (`--isolation none`) -1 would mean all that the user runs: there only our children's `sessions` end.
    """
    if os.getpid() == 1:
        _kill(os.kill, -1)
        return
    for session in sessions:
        _kill(os.killpg, session)


def _kill(kill: Callable[[int, int], None], target: int) -> None:
    try:
        kill(target, signal.SIGKILL)
    except OSError:
        return  # there is none
