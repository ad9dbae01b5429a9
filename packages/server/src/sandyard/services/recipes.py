"""Builds by steps for callers: announce one, upload what its COPY steps copy, order it (sandbox-protocol §4)."""

from __future__ import annotations

import hashlib
import hmac
import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from sandkit.wire.errors import CONFLICT, FORBIDDEN, INVALID_REQUEST, ApiError
from sandyard import trees
from sandyard.domain.templates import STEPS_TAG, Build, BuildKind, BuildState, Recipe, Step, System, Template
from sandyard.services import references
from sandyard.services.deployments import PENDING
from sandyard.services.ids import new_id
from sandyard.services.locks import Locks
from sandyard.services.packages import Bounds, extract
from sandyard.services.specs import is_agent
from sandyard.services.spooling import chunks, full_disk_is_507, spool
from sandyard.services.templates import FILES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from sandyard.domain.logins import Login
    from sandyard.services.context import Context
    from sandyard.services.logins import Logins
    from sandyard.services.templates import Templates
    from sandyard.services.wakes import Wakes

UPLOAD_SECONDS = 3600
"""How long an upload's address is good for: as long as E2B's clients give an upload."""
DRAFT_SECONDS = 24 * 3600.0
"""How long a build may wait to be ordered."""
_RECENT = 5
"""Builds of a template whose uploads are kept when a server starts."""
_HASH = re.compile(r"[0-9a-f]{16,128}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MODE = re.compile(r"[0-7]{3,4}")
_STAND_INS = re.compile(r"(?:docker\.io/)?e2bdev/(base|code-interpreter)(?::[^/]*)?")
"""E2B's own images, which the built-in templates stand for."""
_BUILTIN_OF = {"base": "base", "code-interpreter": "code-interpreter-v1"}


class Recipes:
    """Takes orders for builds by steps; each is for one owner."""

    def __init__(self, context: Context, templates: Templates, logins: Logins, wakes: Wakes, secret: bytes) -> None:
        self._settings = context.settings
        self._store = context.store
        self._blobs = context.blobs
        self._clock = context.clock
        self._templates = templates
        self._logins = logins
        self._wakes = wakes
        self._secret = secret
        self._ordering = Locks()

    async def announce(
        self, owner: str, name: str, tags: Sequence[str], *, cpu_count: int | None, memory_mb: int | None
    ) -> tuple[Template, Build]:
        """Enter a build that waits for its files and its order; `name` may bring a tag of its own.

        Raises:
            ApiError: `invalid_request` (name, tag), `forbidden` (another owner's namespace).
        """
        wanted = references.read_new(name)
        references.check_tags(tuple(tags))
        if wanted.namespace not in ("", owner):
            raise ApiError(FORBIDDEN, f"The namespace {wanted.namespace!r} is not yours; leave it out, or write {owner!r}")
        now = self._clock.now()
        template = await self._store.templates.add_template(
            Template(id=new_id("template"), owner=owner, name=wanted.name, created_at=now, updated_at=now)
        )
        build = Build(
            id=new_id("build"),
            template_id=template.id,
            state=BuildState.PENDING,
            manifest={},
            package="",
            tags=tuple(dict.fromkeys([*([wanted.tag] if wanted.tag else []), *tags])) or (STEPS_TAG,),
            created_at=now,
            kind=BuildKind.STEPS,
            system=System(cpu_count=cpu_count, memory_mb=memory_mb),
        )
        await self._store.builds.add(build)
        return template, build

    async def upload_path(self, owner: str, reference: str, files_hash: str) -> tuple[bool, str]:
        """Return whether the files of that hash are here, and the signed path and query to PUT them to."""
        template = await self._templates.find_own(owner, references.read(reference))
        if not _HASH.fullmatch(files_hash):
            raise ApiError(INVALID_REQUEST, f"{files_hash[:130]!r} is no hash of files", details={"field": "filesHash"})
        expires = int(self._clock.now()) + UPLOAD_SECONDS
        query = f"expires={expires}&signature={self._sign(template.id, files_hash, expires)}"
        return await self._has_files(template.id, files_hash), f"/uploads/{template.id}/{files_hash}?{query}"

    async def upload(self, template_id: str, files_hash: str, expires: int, signature: str, body: AsyncIterator[bytes]) -> None:
        """Keep the files (a tar, gzipped or not) that `upload_path` invited.

        Raises:
            ApiError: `forbidden` (forged or too late), `too_large`, `invalid_package`, `storage_full`; nothing is kept.
        """
        signed = hmac.compare_digest(signature.encode(), self._sign(template_id, files_hash, expires).encode())
        if not signed or expires < self._clock.now():
            raise ApiError(FORBIDDEN, "This upload address is forged or has expired; ask for a new one")
        archive = self._settings.data_dir / "uploads" / new_id("build")
        archive.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            with full_disk_is_507():
                await spool(body, archive, self._settings.package_limit)
                await anyio.to_thread.run_sync(_check_archive, archive, self._bounds)
                await self._blobs.put(f"{FILES}/{template_id}/{files_hash}", chunks(archive))
        finally:
            archive.unlink(missing_ok=True)

    async def order(self, owner: str, reference: str, build_id: str, recipe: Recipe, *, template: str, login: Login | None) -> Build:
        """Let an announced build begin. `template` is the reference of the template to build from, or nothing.

        Raises:
            ApiError: `invalid_request` (a step), `conflict` (begun already), `template_not_found`, `build_not_found`.
        """
        build = await self._templates.build(owner, reference, build_id)
        checked = await self._checked(owner, build.template_id, recipe, template)
        async with self._ordering.of(build_id):
            build = await self._templates.build(owner, reference, build_id)
            if not build.drafted or build.state is not BuildState.PENDING:
                raise ApiError(CONFLICT, f"The build {build_id} was begun already; announce another one")
            if login is not None:
                self._logins.put(build_id, login)
            checked = replace(checked, login=login is not None)
            ordered = await self._store.builds.change(build_id, [BuildState.PENDING], recipe=checked)
        self._wakes.wake(PENDING)
        return ordered or build

    async def sweep(self) -> None:
        """Forget what was announced long ago and never ordered, and the files that no recent build copied."""
        drafts = [build for build in await self._store.builds.list(states=[BuildState.PENDING]) if build.drafted]
        for build in drafts:
            if build.created_at < self._clock.now() - DRAFT_SECONDS:
                await self._store.builds.delete(build.id)
        for key in await self._blobs.keys(FILES):
            _, template_id, files_hash = key.split("/")
            if not await self._is_wanted(template_id, files_hash):
                await self._blobs.delete(key)
        await anyio.to_thread.run_sync(_empty, self._settings.data_dir / "uploads")

    async def _is_wanted(self, template_id: str, files_hash: str) -> bool:
        """Whether an upload may be copied from again: by what is still to be ordered, or as recent builds of its template did."""
        builds = (await self._store.builds.list(template_id=template_id))[:_RECENT]
        steps = [step for build in builds if build.recipe is not None for step in build.recipe.steps]
        return any(build.drafted for build in builds) or any(step.files_hash == files_hash for step in steps)

    async def _checked(self, owner: str, template_id: str, recipe: Recipe, template: str) -> Recipe:
        """Return the recipe with what it builds from resolved, when every step can be carried out."""
        if recipe.from_image and template:
            raise ApiError(INVALID_REQUEST, "A build starts from an image or from a template, not from both")
        for number, step in enumerate(recipe.steps, start=1):
            _check_step(step, number)
            if step.type == "COPY" and not await self._has_files(template_id, step.files_hash):
                raise ApiError(INVALID_REQUEST, f"Step {number} ({step}): its files were not uploaded; PUT them first")
        stand_in = _STAND_INS.fullmatch(recipe.from_image)
        if recipe.from_image and not stand_in:
            return recipe
        name = template or (_BUILTIN_OF[stand_in[1]] if stand_in else "base")
        _, origin = await self._templates.resolve(owner, name)
        if is_agent(origin):
            raise ApiError(INVALID_REQUEST, f"The template {name!r} is an agent; a build starts from an image or a template built by steps")
        return replace(recipe, from_image="", from_build=origin.id)

    async def _has_files(self, template_id: str, files_hash: str) -> bool:
        return f"{FILES}/{template_id}/{files_hash}" in await self._blobs.keys(f"{FILES}/{template_id}")

    @property
    def _bounds(self) -> Bounds:
        return Bounds(unpacked_bytes=self._settings.unpacked_limit, files=self._settings.package_files)

    def _sign(self, template_id: str, files_hash: str, expires: int) -> str:
        return hmac.new(self._secret, f"{template_id}/{files_hash}/{expires}".encode(), hashlib.sha256).hexdigest()


def _check_archive(archive: Path, bounds: Bounds) -> None:
    """Unpack it once, to know that it can be."""
    target = archive.with_suffix(".tree")
    try:
        extract(archive, target, bounds)
    finally:
        trees.remove(target)


def _check_step(step: Step, number: int) -> None:
    try:
        _check_arguments(step)
    except ValueError as error:
        raise ApiError(INVALID_REQUEST, f"Step {number} ({step.type}): {error}", details={"field": f"steps.{number - 1}"}) from None


def _check_arguments(step: Step) -> None:
    _CHECKS[step.type](step.args)
    if any("\0" in arg for arg in step.args):
        raise ValueError("an argument holds a NUL")
    if step.type == "COPY" and not _HASH.fullmatch(step.files_hash):
        raise ValueError("filesHash names no files")


def _check_copy(args: Sequence[str]) -> None:
    if not 2 <= len(args) <= 4:
        raise ValueError("it takes a source, a destination, an owner and a mode")
    source, destination, owner, mode = [*args, "", ""][:4]
    clean = posixpath.normpath(source)
    if not source or clean.startswith("/") or clean.split("/")[0] == "..":
        raise ValueError(f"the source {source[:200]!r} leads out of what was uploaded")
    if not destination:
        raise ValueError("the destination is missing")
    if owner and not all(_USER.fullmatch(part) or part.isdecimal() for part in owner.split(":")):
        raise ValueError(f"{owner[:100]!r} is no owner")
    if mode and not _MODE.fullmatch(mode):
        raise ValueError(f"{mode[:100]!r} is no mode: three or four octal digits")


def _check_run(args: Sequence[str]) -> None:
    if not 1 <= len(args) <= 2 or not args[0].strip():
        raise ValueError("it takes a command, and perhaps a user")
    if len(args) > 1 and args[1]:
        _check_user(args[1:])


def _check_env(args: Sequence[str]) -> None:
    if len(args) % 2:
        raise ValueError("it takes names and values in turn")
    for name in args[::2]:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name[:100]!r} cannot be a variable")


def _check_workdir(args: Sequence[str]) -> None:
    if len(args) != 1 or not args[0]:
        raise ValueError("it takes one path")


def _check_user(args: Sequence[str]) -> None:
    if len(args) != 1 or not (_USER.fullmatch(args[0]) or args[0].isdecimal()):
        raise ValueError("it takes the name of one user")


_CHECKS = {"COPY": _check_copy, "RUN": _check_run, "ENV": _check_env, "WORKDIR": _check_workdir, "USER": _check_user}


def _empty(directory: Path) -> None:
    if directory.is_dir():
        for path in directory.iterdir():
            trees.remove(path)
            path.unlink(missing_ok=True)
