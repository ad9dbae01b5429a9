"""A build by steps: starts from a saved system, an image or the host, carries the steps out inside, keeps what became of it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from sandyard import trees
from sandyard.domain.errors import BackendError, StartFailed
from sandyard.domain.specs import MEBIBYTE, Limits, Mount, SandboxSpec
from sandyard.domain.templates import BuildKind, BuildState, System
from sandyard.services.guest import Guest, GuestError
from sandyard.services.ids import new_id
from sandyard.services.specs import build_dir, image_root, system_environment
from sandyard.services.startup import NotReady, start
from sandyard.work import disk
from sandyard.work.failures import BuildFailed
from sandyard.work.stepping import Stepping

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandyard.domain.logins import Login
    from sandyard.domain.specs import Exited, Started
    from sandyard.domain.templates import Build, Recipe, Step
    from sandyard.services.builtins import Builtins
    from sandyard.services.context import Context
    from sandyard.services.exits import Exits
    from sandyard.services.logins import Logins
    from sandyard.work.images import Images
    from sandyard.work.watching import BuildLog

BASE, FINALIZE = "base", "finalize"
"""What E2B's clients call that which comes before the first step, and after the last."""
_LIMITS = Limits(memory_bytes=4096 * MEBIBYTE, cpus=2.0, processes=1024, disk_bytes=3072 * MEBIBYTE)
_READY_SECONDS = 120.0
_LAST_WORD_SECONDS = 1.0
_UV = "/opt/uv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a build came to."""

    system: System
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """What the steps start from: a system, the saved state to restore, and how many of the steps are in it already."""

    system: System
    restore: Path | None = None
    done: int = 0


class StepBuilder:
    """Carries out builds by steps, those of callers and our own."""

    def __init__(self, context: Context, exits: Exits, *, builtins: Builtins, logins: Logins, images: Images, uv: Path) -> None:
        self._context = context
        self._settings = context.settings
        self._exits = exits
        self._builtins = builtins
        self._logins = logins
        self._images = images
        self._uv = uv

    async def build(self, build: Build, log: BuildLog) -> Made:
        """Do it all; return how sandboxes of it start.

        Raises:
            BuildFailed: with the step that failed.
            BackendError: the platform's fault.
        """
        assert build.recipe is not None
        home = build_dir(self._settings, build.id)
        await anyio.to_thread.run_sync(trees.remove, home)
        await anyio.Path(home).mkdir(parents=True)
        if await anyio.to_thread.run_sync(disk.is_nearly_full, home):
            raise BuildFailed("The platform's disk is nearly full", step=BASE)
        origin = await self._origin(build, build.recipe, log)
        sandbox_id = new_id("sandbox")
        spec = self._spec(build, sandbox_id, origin)
        with self._exits.watch(sandbox_id) as ended:
            try:
                started = await self._context.backend.start(spec)
                return await self._inside(build, build.recipe, origin, started, log)
            except StartFailed as failure:
                raise BuildFailed(f"The system to build in did not start: {failure.exited.reason}", step=BASE) from failure
            except GuestError as failure:
                raise BuildFailed(await _last_word(ended, failure)) from failure
            finally:
                with anyio.CancelScope(shield=True):
                    await self._context.backend.stop(sandbox_id)

    async def _inside(self, build: Build, recipe: Recipe, origin: _Origin, started: Started, log: BuildLog) -> Made:
        guest = Guest(self._context.dialer, started.sandbox_id)
        home = build_dir(self._settings, build.id)
        stepping = Stepping(self._context, guest, log, home / "work", self._files(build), started.isolation.root)
        if recipe.from_image:
            await stepping.furnish()
        system = await stepping.run(recipe.steps, origin.system, template_id=build.template_id, done=origin.done)
        system = replace(system, saved=True, start_cmd=recipe.start_cmd, ready_cmd=recipe.ready_cmd)
        await anyio.to_thread.run_sync(trees.remove, home / "work")
        await log.say("Saving the file system")
        saved = await self._context.snapshots.save(started.sandbox_id, home / "system")
        if system.start_cmd or system.ready_cmd:
            await log.say("Starting it once, to see that it becomes ready")
            await self._try(started.sandbox_id, system)
        return Made(system=system, size_bytes=saved.size_bytes)

    async def _try(self, sandbox_id: str, system: System) -> None:
        try:
            await start(self._context.dialer, sandbox_id, system, seconds=_READY_SECONDS, env=system.env)
        except NotReady as failure:
            raise BuildFailed(str(failure), step=FINALIZE) from failure

    async def _origin(self, build: Build, recipe: Recipe, log: BuildLog) -> _Origin:
        wishes = build.system
        if recipe.from_image:
            login = self._logins.take(build.id)
            if recipe.login and login is None:
                raise BuildFailed("The registry's login was forgotten when the server was restarted; build it again", step=BASE)
            origin = await self._from_image(recipe.from_image, login, log)
        else:
            origin = await self._from_build(recipe.from_build)
        cached = await self._cached(build, recipe, origin)
        if cached is not None:
            await log.say(f"CACHED: the first {cached.done} of {len(recipe.steps)} steps, from an earlier build")
        origin = cached or origin
        system = replace(origin.system, cpu_count=wishes.cpu_count, memory_mb=wishes.memory_mb, start_cmd="", ready_cmd="")
        return replace(origin, system=system)

    async def _from_image(self, name: str, login: Login | None, log: BuildLog) -> _Origin:
        try:
            image = await self._images.get(name, login, log)
        except BuildFailed as failure:
            raise BuildFailed(f"The image {name!r} could not be had: {failure}", step=BASE) from failure
        return _Origin(system=System(image=image.digest, env=image.env))

    async def _from_build(self, build_id: str) -> _Origin:
        if not build_id:
            return _Origin(system=System())
        build = await self._context.store.builds.get(build_id)
        if build is None:
            raise BuildFailed("The template to build from was deleted meanwhile", step=BASE)
        return self._of(build)

    def _of(self, build: Build, done: int = 0) -> _Origin:
        restore = build_dir(self._settings, build.id) / "system" if build.system.saved else None
        return _Origin(system=build.system, restore=restore, done=done)

    async def _cached(self, build: Build, recipe: Recipe, origin: _Origin) -> _Origin | None:
        """Return the finished build of this template that has most of the first steps behind it, from the same beginning."""
        if recipe.force:
            return None
        best: Build | None = None
        for other in await self._context.store.builds.list(template_id=build.template_id, states=[BuildState.DEPLOYED]):
            if other.recipe is None or not other.system.saved or not _is_beginning(other.recipe.steps, recipe.steps):
                continue
            same = other.recipe.from_build == recipe.from_build and other.system.image == origin.system.image
            if same and other.recipe.steps and (best is None or len(other.recipe.steps) > len(_steps(best))):
                best = other
        return None if best is None else self._of(best, done=len(_steps(best)))

    def _files(self, build: Build) -> Mapping[str, Path]:
        """Return what the COPY steps of a built-in template copy from."""
        return self._builtins.files(build) if build.kind is BuildKind.BUILTIN else {}

    def _spec(self, build: Build, sandbox_id: str, origin: _Origin) -> SandboxSpec:
        settings = self._settings
        index = {} if settings.index_url is None else {"PIP_INDEX_URL": settings.index_url, "UV_DEFAULT_INDEX": settings.index_url}
        return SandboxSpec(
            sandbox_id=sandbox_id,
            command=(),
            system="writable",
            root=image_root(settings, origin.system.image) if origin.system.image else None,
            restore=origin.restore,
            env=system_environment(settings, sandbox_id, origin.system, index),
            mounts=(Mount(self._uv.parent, _UV, "ro"),) if build.kind is BuildKind.BUILTIN else (),
            limits=replace(_LIMITS, memory_bytes=max(_LIMITS.memory_bytes, settings.limits.memory_bytes)),
            egress=replace(settings.egress, allow=(*settings.egress.allow, *settings.index_hosts)),
            ready_port=None,
            ends_at=self._context.clock.now() + settings.build_timeout,
        )


def _steps(build: Build) -> tuple[Step, ...]:
    return build.recipe.steps if build.recipe else ()


def _is_beginning(old: tuple[Step, ...], new: tuple[Step, ...]) -> bool:
    """Whether `new` begins with `old`, and nothing of that beginning is to be done anew."""
    beginning = new[: len(old)]
    return (
        len(old) <= len(new)
        and not any(step.force for step in beginning)
        and [_key(step) for step in old] == [_key(step) for step in beginning]
    )


def _key(step: Step) -> tuple[str, tuple[str, ...], str]:
    return step.type, step.args, step.files_hash


async def _last_word(ended: asyncio.Future[Exited], failure: GuestError) -> str:
    """Return how the sandbox ended, which explains why its guest went away, if it did."""
    with contextlib.suppress(TimeoutError, BackendError):
        async with asyncio.timeout(_LAST_WORD_SECONDS):
            return (await asyncio.shield(ended)).reason
    return str(failure)
