"""Snapshots: saved sandboxes as templates, so that they are named, tagged, started from and deleted as templates are."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from sandkit.wire.errors import CONFLICT, FORBIDDEN, TEMPLATE_NOT_FOUND, ApiError
from sandyard import trees
from sandyard.domain.templates import STEPS_TAG, Build, BuildKind, BuildState, Recipe, Template
from sandyard.services import references
from sandyard.services.ids import new_id
from sandyard.services.specs import build_dir, is_agent, saved_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sandyard.domain.sandboxes import Sandbox
    from sandyard.domain.specs import Saved
    from sandyard.services.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotView:
    """A snapshot with its template and the tags that point at it."""

    template: Template
    build: Build
    tags: tuple[str, ...]
    saved: Saved | None = None

    @property
    def names(self) -> list[str]:
        return [f"{self.template.name}:{tag}" for tag in self.tags]


class Snapshots:
    """Makes and lists them; each is one build of kind `snapshot`, whose directory holds the saved state."""

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._store = context.store
        self._clock = context.clock
        self._port = context.snapshots

    async def create(self, row: Sandbox, build: Build, name: str | None) -> SnapshotView:
        """Save a sandbox of `build`; it runs on, or stays paused. `name` may have a tag; without one it is made up.

        Raises:
            ApiError: `invalid_request` (the name), `forbidden` (another owner's), `conflict` (a template of another kind).
            SandboxGone, BackendUnavailable, NotSupported: see `ports.Snapshots.save`; nothing is left.
        """
        reference = references.read_new(name or f"snapshot-{secrets.token_hex(8)}")
        if reference.namespace not in ("", row.owner):
            raise ApiError(FORBIDDEN, f"You cannot name a snapshot in {reference.namespace!r}")
        await self._check_kind(row.owner, reference.name)
        new = self._new_build(row, build, reference.tag or STEPS_TAG)
        home = build_dir(self._settings, new.id)
        try:
            await anyio.Path(home).mkdir(parents=True)
            saved = await self._save(row, saved_dir(self._settings, new.id))
            template, done = await self._enter(row.owner, reference.name, replace(new, size_bytes=saved.size_bytes))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(trees.remove, home)
            raise
        return SnapshotView(template=template, build=done, tags=new.tags, saved=saved)

    async def list(self, owner: str, *, sandbox_id: str | None, name: str | None) -> Sequence[SnapshotView]:
        """Return the owner's snapshots that a tag points at, newest first; of one sandbox, or of one name."""
        templates = {template.id: template for template in await self._store.templates.list_templates(owner)}
        wanted = None if name is None else references.read(name).name
        found: list[SnapshotView] = []
        for build in await self._store.builds.list(states=[BuildState.DEPLOYED]):
            template = templates.get(build.template_id)
            if template is None or build.kind is not BuildKind.SNAPSHOT or wanted not in (None, template.name, template.id):
                continue
            if sandbox_id is not None and (build.recipe is None or build.recipe.from_sandbox != sandbox_id):
                continue
            tags = tuple(tag.tag for tag in await self._store.builds.tags(template.id) if tag.build_id == build.id)
            if tags:
                found.append(SnapshotView(template=template, build=build, tags=tags))
        return found

    async def _save(self, row: Sandbox, into: Path) -> Saved:
        if not row.saved:
            return await self._port.save(row.id, into)
        raise ApiError(CONFLICT, f"The sandbox {row.id} was paused without memory: resume it before it is saved again")

    def _new_build(self, row: Sandbox, build: Build, tag: str) -> Build:
        """Return the row of the build: an agent's snapshot runs the package that the agent was deployed with."""
        package = build.recipe.from_build if build.kind is BuildKind.SNAPSHOT and build.recipe is not None else build.id
        return Build(
            id=new_id("build"),
            template_id="",
            state=BuildState.BUILDING,
            manifest=build.manifest,
            package="",
            tags=(tag,),
            created_at=self._clock.now(),
            kind=BuildKind.SNAPSHOT,
            recipe=Recipe(from_build=package if is_agent(build) else "", from_sandbox=row.id),
            system=replace(build.system, saved=True),
        )

    async def _check_kind(self, owner: str, name: str) -> None:
        there = await self._store.templates.find_template(owner, name)
        if there is None:
            return
        builds = await self._store.builds.list(template_id=there.id)
        if any(build.kind is not BuildKind.SNAPSHOT for build in builds):
            raise ApiError(CONFLICT, f"The template {name!r} is no snapshot: choose another name")

    async def _enter(self, owner: str, name: str, build: Build) -> tuple[Template, Build]:
        now = self._clock.now()
        new = Template(id=new_id("template"), owner=owner, name=name, created_at=now, updated_at=now)
        template = await self._store.templates.add_template(new)
        await self._store.builds.add(replace(build, template_id=template.id))
        done = await self._store.builds.change(build.id, [BuildState.BUILDING], state=BuildState.DEPLOYED, finished_at=now)
        if done is None:
            raise ApiError(TEMPLATE_NOT_FOUND, f"The template {name!r} was deleted while the snapshot was made")
        return template, done
