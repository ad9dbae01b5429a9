"""Built-in templates: made on first use by steps that we ship, once for all owners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from sandkit.wire.errors import AGENT_FAILED, UNAVAILABLE, ApiError
from sandyard.domain.templates import BUILTIN_OWNER, STEPS_TAG, Build, BuildKind, BuildState, System, Template
from sandyard.services.deployments import PENDING
from sandyard.services.ids import new_id
from sandyard.services.locks import Locks
from sandyard.services.shipped import BUILTINS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sandyard.services.context import Context
    from sandyard.services.shipped import Builtin
    from sandyard.services.wakes import Wakes

WAIT_SECONDS = 50.0
"""How long a caller waits for a first build: less than the 60 s after which E2B's clients give a request up, all its attempts together."""
_UNDER_WAY = (BuildState.PENDING, BuildState.BUILDING)


class Builtins:
    """Finds the built-in templates, and has them built."""

    def __init__(self, context: Context, wakes: Wakes, shipped: Mapping[str, Callable[[], Builtin]] = BUILTINS) -> None:
        self._store = context.store
        self._clock = context.clock
        self._wakes = wakes
        self._shipped = shipped
        self._known: dict[str, Builtin] = {}
        self._versions: dict[str, str] = {}
        self._locks = Locks()
        self.wait_seconds = WAIT_SECONDS

    def get(self, name: str) -> Builtin | None:
        """Return what is shipped under a name."""
        if name in self._shipped and name not in self._known:
            self._known[name] = self._shipped[name]()
            self._versions[name] = self._known[name].version
        return self._known.get(name)

    def files(self, build: Build) -> Mapping[str, Path]:
        """Return what the COPY steps of a built-in template's build copy from: nothing where another version is shipped by now."""
        name = next((name for name, version in self._all_versions().items() if version in build.tags), None)
        return {} if name is None else self._known[name].files

    async def template(self, name: str) -> Template | None:
        """Return the template of that name, built or not; None where none is shipped."""
        if self.get(name) is None:
            return None
        there = await self._store.templates.find_template(BUILTIN_OWNER, name)
        if there is not None:
            return there
        now = self._clock.now()
        new = Template(id=new_id("template"), owner=BUILTIN_OWNER, name=name, created_at=now, updated_at=now, public=True)
        return await self._store.templates.add_template(new)

    async def order(self, name: str) -> None:
        """Have a template built where it is not; does not wait for it."""
        template = await self.template(name)
        if template is not None:
            async with self._locks.of(name):
                await self._current(template)

    async def ready(self, template: Template) -> Build:
        """Return the deployed build of a built-in template; the first caller has it built, all wait for that one build.

        Raises:
            ApiError: `agent_failed` with the reason where the build failed (the next call tries again); `unavailable` with
                `retry_after` while it is still under way.
        """
        async with self._locks.of(template.name):
            build = await self._current(template)
        with anyio.move_on_after(self.wait_seconds):
            build = await self._ended(build)
        if build.state is BuildState.DEPLOYED:
            return build
        if build.state is BuildState.FAILED:
            raise ApiError(
                AGENT_FAILED, f"The template {template.name!r}, built on first use, failed; the next use tries again: {build.reason}"
            )
        message = f"The template {template.name!r} is being built, as it is on first use, and is not ready yet; try again in a moment"
        raise ApiError(UNAVAILABLE, message, details={"retry_after": 5, "should_retry": False})

    def _all_versions(self) -> Mapping[str, str]:
        for name in self._shipped:
            self.get(name)
        return self._versions

    async def _current(self, template: Template) -> Build:
        """Return the build of what is shipped now: the finished one, the one under way, or a new one."""
        version = self._versions[template.name]
        under_way = await self._store.builds.list(template_id=template.id, states=_UNDER_WAY)
        for build in under_way:
            if version in build.tags:
                return build
        tagged = await self._store.builds.tagged(template.id, version)  # asked second: what ended in between is found here
        return tagged or await self._start(template, version)

    async def _start(self, template: Template, version: str) -> Build:
        builtin = self._known[template.name]
        recipe = builtin.recipe
        build = Build(
            id=new_id("build"),
            template_id=template.id,
            state=BuildState.PENDING if recipe.steps else BuildState.BUILDING,
            manifest={},
            package="",
            tags=(version, STEPS_TAG),
            created_at=self._clock.now(),
            kind=BuildKind.BUILTIN,
            recipe=recipe,
            system=System(start_cmd=recipe.start_cmd, ready_cmd=recipe.ready_cmd),
        )
        await self._store.builds.add(build)
        if recipe.steps:
            self._wakes.wake(PENDING)
            return build
        now = self._clock.now()
        done = await self._store.builds.change(build.id, [BuildState.BUILDING], state=BuildState.DEPLOYED, finished_at=now, size_bytes=0)
        return done or build

    async def _ended(self, build: Build) -> Build:
        while not self._wakes.closed and build.state in _UNDER_WAY:
            news = self._wakes.event(build.id)
            build = await self._store.builds.get(build.id) or build
            if build.state in _UNDER_WAY:
                await news.wait()
        return build
