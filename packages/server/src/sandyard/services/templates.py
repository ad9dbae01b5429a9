"""Templates for callers: upload, find, describe, follow, delete. What a build does is `work.builds`."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from sandkit.wire.errors import (
    BUILD_NOT_FOUND,
    CONFLICT,
    INVALID_REQUEST,
    STORAGE_FULL,
    TEMPLATE_NOT_FOUND,
    TEMPLATE_NOT_READY,
    TOO_LARGE,
    ApiError,
)
from sandyard.domain.templates import DEFAULT_TAG, TAG, Build, BuildState, LogLine, Template
from sandyard.services import trees
from sandyard.services.ids import new_id
from sandyard.services.lifecycle import LIVING
from sandyard.services.packages import Bounds, unpack
from sandyard.services.specs import build_dir

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Generator, Sequence
    from pathlib import Path

    from sandkit.wire.manifest import AgentConfig
    from sandyard.services.context import Context
    from sandyard.services.wakes import Wakes

PENDING = "pending"
"""The name that `Wakes` wakes when a build waits for a builder."""
_FINISHED = (BuildState.DEPLOYED, BuildState.FAILED)
_LAST_LINES = 40
_PACKAGES = "packages"
_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateView:
    """A template with the build that describes it, and the names of its tags that point at a build."""

    template: Template
    build: Build | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """A piece of a build's log; `build` is set in the last one."""

    lines: Sequence[LogLine]
    build: Build | None = None


class Templates:
    """The verbs on templates; each is for one owner, and other owners' things do not exist."""

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
        _check_tags(tags)
        build_id = new_id("build")
        home = build_dir(self._settings, build_id)
        try:
            with _full_disk_is_507():
                config = await self._receive(home, body)
                return await self._enter(owner, build_id, config, tuple(tags) or (DEFAULT_TAG,), home)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(trees.remove, home)
            raise

    async def resolve(self, owner: str, reference: str) -> tuple[Template, Build]:
        """Return the deployed build that `id`, `name`, `id:tag` or `name:tag` means; no tag means `latest`, or the newest.

        Raises:
            ApiError: `template_not_found`; `template_not_ready` where no build of it is deployed.
        """
        name, _, tag = reference.partition(":")
        template = await self._find(owner, name)
        if tag:
            build = await self._store.builds.tagged(template.id, tag)
            if build is None:
                raise ApiError(TEMPLATE_NOT_FOUND, f"The template {template.name!r} has no tag {tag!r}")
        else:
            build = await self._describing(template.id)
        if build is None or build.state is not BuildState.DEPLOYED:
            raise ApiError(TEMPLATE_NOT_READY, _why_not_ready(template, build))
        return template, build

    async def list(self, owner: str) -> Sequence[TemplateView]:
        return [await self._view(template) for template in await self._store.templates.list_templates(owner)]

    async def get(self, owner: str, reference: str) -> TemplateView:
        """Return what `id`, `name` or `name:tag` means, deployed or not."""
        name, _, tag = reference.partition(":")
        view = await self._view(await self._find(owner, name))
        if not tag:
            return view
        build = await self._store.builds.tagged(view.template.id, tag)
        if build is None:
            raise ApiError(TEMPLATE_NOT_FOUND, f"The template {view.template.name!r} has no tag {tag!r}")
        return TemplateView(template=view.template, build=build, tags=view.tags)

    async def delete(self, owner: str, reference: str) -> None:
        """Delete a template with its builds.

        Raises:
            ApiError: `conflict` while sandboxes of it live or a build of it is under way.
        """
        template = await self._find(owner, reference)
        living = [row for row in await self._store.sandboxes.list(owner=owner, states=LIVING) if row.template_id == template.id]
        if living:
            raise ApiError(CONFLICT, f"{len(living)} sandboxes of {template.name!r} still live; close them first")
        builds = await self._store.builds.list(template_id=template.id)
        if any(build.state is BuildState.BUILDING for build in builds):
            raise ApiError(CONFLICT, f"A build of {template.name!r} is under way; wait for its end")
        await self._store.templates.delete_template(template.id)
        for build in builds:
            await self._blobs.delete(build.package)
            home = build_dir(self._settings, build.id)
            await anyio.to_thread.run_sync(trees.remove, home)

    async def build(self, owner: str, reference: str, build_id: str) -> Build:
        """Return a build of a template.

        Raises:
            ApiError: `build_not_found`.
        """
        template = await self._find(owner, reference)
        build = await self._store.builds.get(build_id)
        if build is None or build.template_id != template.id:
            raise ApiError(BUILD_NOT_FOUND, f"The template {template.name!r} has no build {build_id!r}")
        return build

    async def logs(self, build_id: str, offset: int, limit: int) -> Sequence[LogLine]:
        """Return log lines of a build from number `offset` on; ask `build` first whose it is."""
        return await self._store.logs.read(build_id, offset, limit)

    async def last_lines(self, build_id: str) -> Sequence[LogLine]:
        """Return the last 40 lines of a build's log."""
        last: list[LogLine] = []
        offset = 0
        while page := await self._store.logs.read(build_id, offset, 1000):
            last = [*last, *page][-_LAST_LINES:]
            offset = page[-1].number + 1
        return last

    async def follow(self, build: Build, offset: int) -> AsyncGenerator[Progress]:
        """Yield the build's log lines as they come; the last piece holds the finished build, unless the server ends first."""
        while not self._wakes.closed:
            news = self._wakes.event(build.id)
            row = await self._store.builds.get(build.id)
            lines = await self._store.logs.read(build.id, offset, 1000)
            if lines:
                offset = lines[-1].number + 1
                yield Progress(lines)
            elif row is None or row.state in _FINISHED:
                yield Progress((), row or build)
                return
            else:
                await news.wait()

    async def sweep(self) -> None:
        """Remove the directories and packages that a killed server left without a row; call it before anyone may upload."""
        builds = await self._store.builds.list()
        await anyio.to_thread.run_sync(_remove_others, self._settings.data_dir / "builds", {build.id for build in builds})
        for package in set(await self._blobs.keys(_PACKAGES)) - {build.package for build in builds}:
            await self._blobs.delete(package)

    async def _receive(self, home: Path, body: AsyncIterator[bytes]) -> AgentConfig:
        await anyio.Path(home).mkdir(parents=True)
        archive = home / "package.tar.gz"
        await _spool(body, archive, self._settings.package_limit)
        bounds = Bounds(unpacked_bytes=self._settings.unpacked_limit, files=self._settings.package_files)
        return await anyio.to_thread.run_sync(unpack, archive, home / "app", bounds)

    async def _enter(self, owner: str, build_id: str, config: AgentConfig, tags: tuple[str, ...], home: Path) -> tuple[Template, Build]:
        package = f"{_PACKAGES}/{build_id}.tar.gz"
        archive = home / "package.tar.gz"
        await self._blobs.put(package, _chunks(archive))
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

    async def _find(self, owner: str, reference: str) -> Template:
        template = await self._store.templates.get_template(reference)
        if template is None or template.owner != owner:
            template = await self._store.templates.find_template(owner, reference)
        if template is None:
            raise ApiError(TEMPLATE_NOT_FOUND, f"There is no template {reference!r}")
        return template

    async def _view(self, template: Template) -> TemplateView:
        builds = await self._store.builds.list(template_id=template.id)
        named = dict.fromkeys(tag for build in builds if build.state is BuildState.DEPLOYED for tag in build.tags)
        return TemplateView(template=template, build=await self._describing(template.id), tags=tuple(named))

    async def _describing(self, template_id: str) -> Build | None:
        """The build that stands for a template: tagged `latest`, else the newest deployed one, else the newest."""
        tagged = await self._store.builds.tagged(template_id, DEFAULT_TAG)
        if tagged is not None:
            return tagged
        builds = await self._store.builds.list(template_id=template_id)
        deployed = [build for build in builds if build.state is BuildState.DEPLOYED]
        return max(deployed or builds, key=lambda build: build.created_at, default=None)


def _remove_others(directory: Path, known: Collection[str]) -> None:
    if directory.is_dir():
        for path in directory.iterdir():
            if path.name not in known:
                trees.remove(path)


def _check_tags(tags: Sequence[str]) -> None:
    for tag in tags:
        if not TAG.fullmatch(tag):
            raise ApiError(INVALID_REQUEST, f"{tag!r} is not a tag: letters, digits, '_', '.' and '-'", details={"field": "tags"})


def _why_not_ready(template: Template, build: Build | None) -> str:
    if build is None:
        return f"The template {template.name!r} has no build"
    if build.state is BuildState.FAILED:
        return f"The template {template.name!r} has no deployed build; the newest failed: {build.reason}"
    return f"The template {template.name!r} is not deployed yet (its newest build is {build.state.value})"


@contextlib.contextmanager
def _full_disk_is_507() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ApiError(STORAGE_FULL, "The platform's disk is full; nothing was kept of the package") from error


async def _spool(body: AsyncIterator[bytes], path: Path, limit: int) -> None:
    """Write an upload to `path`, in constant memory, stopping where it exceeds `limit` bytes."""
    size = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    async with anyio.wrap_file(os.fdopen(fd, "wb")) as file:
        async for chunk in body:
            size += len(chunk)
            if size > limit:
                raise ApiError(TOO_LARGE, f"The package is larger than {limit // 1024**2} MiB")
            await file.write(chunk)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(_CHUNK):
            yield chunk
