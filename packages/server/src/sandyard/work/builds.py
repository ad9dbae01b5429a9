"""The build loop: takes waiting builds, installs each in a sandbox, starts the agent once, keeps what works."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread
import structlog

from sandyard import trees
from sandyard.domain.errors import BackendError, StartFailed, StoreError
from sandyard.domain.specs import MEBIBYTE
from sandyard.domain.templates import Build, BuildKind, BuildState
from sandyard.services.deployments import PENDING
from sandyard.services.ids import new_id
from sandyard.services.specs import build_dir, session_spec
from sandyard.work import disk, install
from sandyard.work.failures import BuildFailed
from sandyard.work.probe import ProbeFailed, ping
from sandyard.work.watching import BuildLog

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sandyard.domain.specs import Exited, SandboxSpec
    from sandyard.services.context import Context
    from sandyard.services.exits import Exits
    from sandyard.services.wakes import Wakes
    from sandyard.work.steps import StepBuilder

_PING_SECONDS = 15.0
_CROSS = "\N{MULTIPLICATION SIGN}"
_WATCH_SECONDS = 2.0
_RETRY_SECONDS = 2.0
_BROKEN = "The platform could not build it; its log has more"
_NOT_STORED = "The platform could not store anything while it built (its disk may be full); its operator's log says why"
_log = structlog.get_logger("sandyard.builds")

T = TypeVar("T")


class Builder:
    """Owns the builds of one server. `uv` is the program that installs agents' requirements, `steps` does what is no agent."""

    def __init__(self, context: Context, exits: Exits, wakes: Wakes, uv: Path, steps: StepBuilder) -> None:
        self._context = context
        self._settings = context.settings
        self._rows = context.store.builds
        self._exits = exits
        self._wakes = wakes
        self._uv = uv
        self._steps = steps
        self._turn = anyio.Semaphore(context.settings.max_building)

    async def run(self) -> None:
        """Build for ever: first what a dead server left half built, then whatever is uploaded."""
        await anyio.to_thread.run_sync(install.stage_sdk, self._settings.data_dir / "sdk")
        for build in await self._rows.list(states=[BuildState.BUILDING]):
            await self._rows.change(build.id, [BuildState.BUILDING], state=BuildState.PENDING)
        async with anyio.create_task_group() as tasks:
            while True:
                news = self._wakes.event(PENDING)
                for build in reversed(await self._rows.list(states=[BuildState.PENDING])):
                    if build.drafted:
                        continue
                    await self._turn.acquire()
                    tasks.start_soon(self._take, build)
                await news.wait()

    async def _take(self, build: Build) -> None:
        try:
            taken = await _insist(lambda: self._rows.change(build.id, [BuildState.PENDING], state=BuildState.BUILDING))
            if taken is not None:
                await self._build(taken)
        except Exception:  # noqa: BLE001 (one build must not end the loop)
            _log.exception("a build could not be ended as it should", build=build.id)
            await self._finish(build, state=BuildState.FAILED, reason=_BROKEN)
        finally:
            self._turn.release()

    async def _build(self, build: Build) -> None:
        log = BuildLog(self._context, self._wakes, build.id)
        await log.resume()
        try:
            with anyio.fail_after(self._settings.build_timeout):
                result = await (self._agent(build, log) if build.kind is BuildKind.AGENT else self._by_steps(build, log))
                await anyio.to_thread.run_sync(trees.settle, self._settings.data_dir)
        except BuildFailed as failure:
            await self._failed(build, log, str(failure), failed_step=failure.step)
        except TimeoutError:
            where = f"; it was at {log.stage}" if log.stage else ""
            await self._failed(build, log, f"The build did not end within {self._settings.build_timeout:.0f} seconds{where}")
        except (BackendError, OSError) as failure:
            await self._failed(build, log, f"The platform could not build it: {failure}")
        except StoreError as failure:
            _log.warning("a build could not be noted", build=build.id, error=str(failure))
            await self._failed(build, log, _NOT_STORED)
        except Exception:  # noqa: BLE001 (its owner hears of it, the log knows more)
            _log.exception("a build broke", build=build.id)
            await self._failed(build, log, _BROKEN)
        else:
            await _insist(lambda: log.say("Deployed"))
            await self._finish(build, state=BuildState.DEPLOYED, **result)

    async def _by_steps(self, build: Build, log: BuildLog) -> dict[str, object]:
        made = await self._steps.build(build, log)
        return {"system": made.system, "size_bytes": made.size_bytes}

    async def _agent(self, build: Build, log: BuildLog) -> dict[str, object]:
        home = build_dir(self._settings, build.id)
        await anyio.to_thread.run_sync(install.prepare, home)
        await log.say("Installing the requirements")
        await self._install(build, log, home)
        trouble = await anyio.to_thread.run_sync(_trouble, home / "venv")
        if trouble:
            raise BuildFailed(trouble)
        await log.say("Starting the agent once")
        await self._try(build, log)
        dependencies = await anyio.to_thread.run_sync(disk.installed, home / "venv")
        return {"dependencies": dependencies, "size_bytes": await anyio.to_thread.run_sync(disk.size, home)}

    async def _install(self, build: Build, log: BuildLog, home: Path) -> None:
        """Run the installation in its sandbox and wait for its end."""
        ends_at = self._context.clock.now() + self._settings.build_timeout
        spec = install.install_spec(self._settings, build, self._uv, ends_at=ends_at)
        done = anyio.Event()
        outcome: Exited | Exception = BuildFailed("The build was given up")
        with self._exits.watch(build.id) as ended:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(log.follow, build.id, done)
                    tasks.start_soon(_watch_disk, home / "venv", ended, done)
                    outcome = await self._outcome(spec, ended)
                    done.set()
            except ExceptionGroup as failures:
                if failures.subgroup(StoreError) is None:
                    raise
                raise BuildFailed(_NOT_STORED) from failures
            finally:
                with anyio.CancelScope(shield=True):
                    await self._context.backend.stop(build.id)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.exit_code != 0:
            await log.complete(outcome.output)
            raise BuildFailed(f"The requirements could not be installed: {_explanation(outcome)}")

    async def _outcome(self, spec: SandboxSpec, ended: asyncio.Future[Exited]) -> Exited | Exception:
        """Start and wait; what fails is returned, since a task group would wrap it."""
        try:
            await self._context.backend.start(spec)
            return await ended
        except StartFailed as failure:
            return failure.exited
        except (BackendError, BuildFailed) as failure:
            return failure

    async def _try(self, build: Build, log: BuildLog) -> None:
        """Start the agent as a session would and ask its `/ping`."""
        sandbox_id = new_id("sandbox")
        ready = session_spec(self._settings, build, sandbox_id, ends_at=0).ready_timeout
        spec = session_spec(self._settings, build, sandbox_id, ends_at=self._context.clock.now() + ready + _PING_SECONDS)
        with self._exits.watch(sandbox_id):
            try:
                await self._context.backend.start(spec)
                status = await ping(self._context.dialer, sandbox_id, _PING_SECONDS)
                if status != HTTPStatus.OK:
                    output, _ = await self._context.supervision.output(sandbox_id)
                    await log.complete(output.decode(errors="replace"))
                    raise BuildFailed(f"The agent listens, but GET /ping answered {status} instead of 200")
            except StartFailed as failure:
                await log.complete(failure.exited.output)
                raise BuildFailed(f"The agent did not start: {failure.exited.reason}") from None
            except ProbeFailed as failure:
                raise BuildFailed(str(failure)) from None
            finally:
                with anyio.CancelScope(shield=True):
                    await self._context.backend.stop(sandbox_id)

    async def _failed(self, build: Build, log: BuildLog, reason: str, *, failed_step: str = "") -> None:
        home = build_dir(self._settings, build.id)
        await anyio.to_thread.run_sync(trees.remove, home)
        await _insist(lambda: log.say(reason, level="error"))
        await self._finish(build, state=BuildState.FAILED, reason=reason, failed_step=failed_step)

    async def _finish(self, build: Build, **fields: object) -> None:
        await _insist(lambda: self._rows.change(build.id, [BuildState.BUILDING], finished_at=self._context.clock.now(), **fields))
        self._wakes.wake(build.id)
        _log.info("build ended", build=build.id, state=str(fields["state"]))


async def _insist(act: Callable[[], Awaitable[T]]) -> T:
    """Do it until it is stored: a build whose end is not noted would be followed for ever."""
    while True:
        try:
            return await act()
        except StoreError as error:
            _log.warning("a build could not be noted", error=str(error))
            await anyio.sleep(_RETRY_SECONDS)


def _explanation(exited: Exited) -> str:
    """Pick the sentence that says why: uv marks it with "error:" or a cross, then what caused it; else how the sandbox ended."""
    lines = [line.strip() for line in exited.output.splitlines()]
    marked = [line.removeprefix("error:").strip(f" {_CROSS}") for line in lines if line.startswith(("error:", _CROSS))]
    causes = [line.partition(":")[2].strip() for line in lines if line.startswith(("Caused by:", "cause:"))]
    return ": ".join(marked[-1:] + causes[-1:]) if marked else exited.reason


def _trouble(venv: Path) -> str:
    """Return why a build must end; nothing if it may go on. What it deleted and still holds open is seen only by what is free."""
    try:
        if disk.size(venv, install.BUILD_DISK) > install.BUILD_DISK:
            return f"The build wrote more than {install.BUILD_DISK // MEBIBYTE} MiB"
    except disk.TooDeep as error:
        return f"The build left directories that are nested too deep: {error}"
    if disk.is_nearly_full(venv):
        return "The platform's disk is nearly full"
    return ""


async def _watch_disk(venv: Path, ended: asyncio.Future[Exited], done: anyio.Event) -> None:
    """End a build that fills the disk. No file system tells when a directory grows, hence the look every two seconds."""
    while not done.is_set():
        trouble = await anyio.to_thread.run_sync(_trouble, venv)
        if trouble and not ended.done():
            ended.set_exception(BuildFailed(trouble))
        with anyio.move_on_after(_WATCH_SECONDS):
            await done.wait()
