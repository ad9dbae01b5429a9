"""`agent run`: the agent as a process of this machine, started again when its files change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from ppio_sandbox.cli import manifest_file, packing
from ppio_sandbox.cli.calling import variables_of
from ppio_sandbox.cli.output import UsageError, say
from sandkit.wire.manifest import MANIFEST_NAMES

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

LOOK_SECONDS = 0.3
"""Between two looks at the files: what would tell us is another dependency of every agent."""
STOP_SECONDS = 10.0
AGENTAPP = "agentapp.yaml"


async def run(directory: Path, config: Path | None, address: tuple[str, int], env: Sequence[str], *, reload: bool) -> None:
    """Run the agent until Ctrl-C, or with `reload` off until it ends by itself; then with its exit code.

    Raises:
        UsageError: there is no manifest, or no entrypoint.
    """
    name, command = _what(directory, config)
    host, port = address
    told = {"PPIO_AGENT_HOST": host, "PPIO_AGENT_PORT": str(port), "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    say(f"running {name} on http://{host}:{port} (without isolation); Ctrl-C ends it")
    code = await keep_running(command, directory, {**os.environ, **told, **variables_of(env)}, reload=reload)
    raise typer.Exit(code)


async def keep_running(command: Sequence[str], directory: Path, environment: Mapping[str, str], *, reload: bool = True) -> int:
    """Run `command` in `directory`, again whenever a file there changes; with `reload` off once. Return its exit code.

    SIGTERM ends the command and then this, with 143: otherwise the command would outlive us.
    """
    with _until_sigterm() as terminated:
        try:
            return await _keep_running(command, directory, environment, reload=reload)
        except asyncio.CancelledError:
            if not terminated.is_set():
                raise
            return 128 + signal.SIGTERM


@contextlib.contextmanager
def _until_sigterm() -> Generator[asyncio.Event]:
    """Let SIGTERM cancel the task that runs; yield what tells that it did."""
    loop, task, terminated = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
    assert task is not None

    def terminate() -> None:
        if not terminated.is_set():
            terminated.set()
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        yield terminated
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _keep_running(command: Sequence[str], directory: Path, environment: Mapping[str, str], *, reload: bool) -> int:
    while True:
        seen = _state(directory)
        process = await asyncio.create_subprocess_exec(*command, cwd=directory, env=dict(environment))
        try:
            code = await _until(process, directory, seen if reload else None)
        finally:
            await _stop(process)
        if not reload:
            return code or 0
        say("files have changed: starting again")


def _what(directory: Path, config: Path | None) -> tuple[str, list[str]]:
    """Return the agent's name and command. A directory with agentapp.yaml and no manifest is an AgentScope app's."""
    if config is None and (directory / AGENTAPP).is_file() and not any((directory / name).is_file() for name in MANIFEST_NAMES):
        if find_spec("agentapp") is None:
            raise UsageError(f"{directory / AGENTAPP} is an AgentScope app's; it needs: pip install sandyard-agentscope")
        return directory.resolve().name, [sys.executable, "-m", "agentapp", "run"]
    file = manifest_file.load(manifest_file.find(directory, config))
    entrypoint = file.manifest.spec.entrypoint
    if not (directory / entrypoint).is_file():
        raise UsageError(f"the entrypoint {entrypoint} that {file.path} names is not in {directory}")
    return file.manifest.metadata.name, [sys.executable, entrypoint]


async def _until(process: Process, directory: Path, seen: Mapping[Path, int] | None) -> int | None:
    """Wait until the files are others than `seen`; where nothing was seen, or meanwhile, until the process ends: its exit code."""
    if seen is None:
        return await process.wait()
    has_ended = False
    while _state(directory) == seen:
        if process.returncode is not None and not has_ended:
            has_ended = True
            say(f"the agent has ended with code {process.returncode}; it is started again when a file changes")
        await asyncio.sleep(LOOK_SECONDS)
    return None


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _state(directory: Path) -> dict[Path, int]:
    """Return when each of the agent's files was changed last; one that goes away meanwhile has no time."""
    found: dict[Path, int] = {}
    for path in packing.files_of(directory):
        with contextlib.suppress(FileNotFoundError):
            found[path] = path.stat().st_mtime_ns
    return found
