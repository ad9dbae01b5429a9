"""The upload of a packed agent, which leaves a build that waits its turn. What the build does is `work.builds`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from sandyard import trees
from sandyard.domain.templates import DEFAULT_TAG, Build, BuildState, Template
from sandyard.services.ids import new_id
from sandyard.services.packages import Bounds, unpack
from sandyard.services.references import check_tags
from sandyard.services.specs import build_dir
from sandyard.services.spooling import chunks, full_disk_is_507, spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from pathlib import Path

    from sandkit.wire.manifest import AgentConfig
    from sandyard.services.context import Context
    from sandyard.services.wakes import Wakes

PENDING = "pending"
"""The name that `Wakes` wakes when a build waits for a builder."""
_PACKAGES = "packages"


class Deployments:
    """Takes agents in."""

    def __init__(self, context: Context, wakes: Wakes) -> None:
        self._settings = context.settings
        self._store = context.store
        self._blobs = context.blobs
        self._clock = context.clock
        self._wakes = wakes

    async def deploy(self, owner: str, tags: Sequence[str], body: AsyncIterator[bytes]) -> tuple[Template, Build]:
        """Take a packed agent (gzip tar), check it, and leave a build that waits its turn.

        Raises:
            ApiError: `too_large`, `invalid_package`, `invalid_manifest`, `invalid_request` (a tag), `storage_full`.
        """
        check_tags(tuple(tags))
        build_id = new_id("build")
        home = build_dir(self._settings, build_id)
        try:
            with full_disk_is_507():
                config = await self._receive(home, body)
                return await self._enter(owner, build_id, config, tuple(tags) or (DEFAULT_TAG,), home)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(trees.remove, home)
            raise

    async def sweep(self) -> None:
        """Remove the directories and packages that a killed server left without a row; call it before anyone may upload."""
        builds = await self._store.builds.list()
        await anyio.to_thread.run_sync(_remove_others, self._settings.data_dir / "builds", {build.id for build in builds})
        for package in set(await self._blobs.keys(_PACKAGES)) - {build.package for build in builds}:
            await self._blobs.delete(package)

    async def _receive(self, home: Path, body: AsyncIterator[bytes]) -> AgentConfig:
        await anyio.Path(home).mkdir(parents=True)
        archive = home / "package.tar.gz"
        await spool(body, archive, self._settings.package_limit)
        bounds = Bounds(unpacked_bytes=self._settings.unpacked_limit, files=self._settings.package_files)
        return await anyio.to_thread.run_sync(unpack, archive, home / "app", bounds)

    async def _enter(self, owner: str, build_id: str, config: AgentConfig, tags: tuple[str, ...], home: Path) -> tuple[Template, Build]:
        package = f"{_PACKAGES}/{build_id}.tar.gz"
        archive = home / "package.tar.gz"
        await self._blobs.put(package, chunks(archive))
        archive.unlink()
        now = self._clock.now()
        template = await self._store.templates.add_template(
            Template(id=new_id("template"), owner=owner, name=config.metadata.name, created_at=now, updated_at=now)
        )
        build = Build(
            id=build_id,
            template_id=template.id,
            state=BuildState.PENDING,
            manifest=config.as_dict(),
            package=package,
            tags=tags,
            created_at=now,
        )
        await self._store.builds.add(build)
        self._wakes.wake(PENDING)
        return template, build


def _remove_others(directory: Path, known: Collection[str]) -> None:
    if directory.is_dir():
        for path in directory.iterdir():
            if path.name not in known:
                trees.remove(path)
