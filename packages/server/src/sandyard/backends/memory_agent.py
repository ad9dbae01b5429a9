"""One agent of the memory back end: a thread with an event loop of its own, in which uvicorn serves the agent's ASGI app."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import traceback
from concurrent.futures import Future
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

OUTPUT_LINES = 40


@dataclass(frozen=True, slots=True)
class Ending:
    """How an agent ended: what a process would have given as its exit status and its last lines."""

    exit_code: int
    output: str = ""


class AgentThread:
    """Runs an entrypoint until it ends by itself or is ended.

    `listening` and `ended` are settled from the thread. Frozen means that the agent's loop stands still: no task of it runs,
    connections are still accepted by the kernel. (Threads that the agent itself started run on.) Without an entrypoint it listens
    nowhere, and is taken to be ready at once.
    """

    def __init__(self, sandbox_id: str, entrypoint: Path | None) -> None:
        self.listening: Future[tuple[str, int]] = Future()
        self.ended: Future[Ending] = Future()
        self._name = f"sandyard_memory_{sandbox_id}"
        self._entrypoint = entrypoint
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._hold: threading.Event | None = None
        # A daemon: nothing can end a thread whose code blocks for ever, and it must not keep the test run alive.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    @property
    def frozen(self) -> bool:
        return self._hold is not None

    def freeze(self) -> Future[None]:
        """Let the loop stand still; the future is settled when it does.

        Raises:
            RuntimeError: the agent has ended.
        """
        standing: Future[None] = Future()
        if self.frozen:
            standing.set_result(None)
            return standing
        # An event of its own for each freeze: a loop that has not yet woken from the last one must not wait for this one's thaw.
        hold = self._hold = threading.Event()

        def stand() -> None:
            standing.set_result(None)
            hold.wait()

        self._loop.call_soon_threadsafe(stand)
        return standing

    def thaw(self) -> None:
        """Let the loop run on."""
        if self._hold is not None:
            self._hold.set()
            self._hold = None

    def end(self) -> None:
        """Ask the agent to end: connections are aborted, tasks cancelled. `ended` tells when it has."""
        self.thaw()
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
            self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.get_loop()  # from here on the runner closes it, also where the agent's file raises
                runner.run(self._idle()) if self._entrypoint is None else self._execute(self._entrypoint, runner)
            ending = Ending(0)
        except SystemExit as error:
            ending = _exit(error)
        except BaseException:  # noqa: BLE001 (the agent's code: whatever it raised is how it ended)
            ending = Ending(1, _last_lines(traceback.format_exc()))
        self.ended.set_result(ending)

    def _execute(self, entrypoint: Path, runner: asyncio.Runner) -> None:
        with _executed(entrypoint, self._name) as app:
            runner.run(self._serve(app))

    async def _idle(self) -> None:
        self.listening.set_result(("127.0.0.1", 0))
        await self._stop.wait()

    async def _serve(self, app: Callable[..., Any]) -> None:
        """Serve until the agent is ended or uvicorn gives up."""
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", server_header=False, date_header=False)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.bind(("127.0.0.1", 0))
            server = _Server(config, lambda: self.listening.set_result(listener.getsockname()))
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(server.serve([listener]))
                stopping = tasks.create_task(self._stop.wait())
                try:
                    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    server.abort()
                    serving.cancel()
                    stopping.cancel()


class _Server(uvicorn.Server):
    """uvicorn without its clock, and with an end as abrupt as a killed process'."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def main_loop(self) -> None:
        self._on_listening()
        await asyncio.Event().wait()  # until cancelled

    def abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for server in getattr(self, "servers", ()):  # uvicorn sets it when it listens
            server.close()


@contextlib.contextmanager
def _executed(entrypoint: Path, name: str) -> Generator[Callable[..., Any]]:
    """Execute an agent's file as a module of that name, give its `app`, forget the module at the end.

    Raises:
        SystemExit: there is no `app` in it.
    """
    module = ModuleType(name)
    module.__file__ = str(entrypoint)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        code = compile(entrypoint.read_bytes(), str(entrypoint), "exec", dont_inherit=True)  # our future statements are not the agent's
        exec(code, module.__dict__)  # noqa: S102 (this is what running it means)
        if not callable(getattr(module, "app", None)):
            sys.exit(f"{entrypoint.name} ended without an ASGI application called `app`")
        yield module.app
    finally:
        del sys.modules[name]


def _exit(error: SystemExit) -> Ending:
    """Read an exit as the interpreter does: None is 0, a number is itself, anything else is printed and 1."""
    if error.code is None or isinstance(error.code, int):
        return Ending(error.code or 0)
    return Ending(1, str(error.code))


def _last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-OUTPUT_LINES:])
