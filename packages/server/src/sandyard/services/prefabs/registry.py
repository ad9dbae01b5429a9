"""The registry: who may publish what, which version a caller means, who sees it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson

from sandkit.wire.gateway import (
    BAD_REQUEST,
    CONFLICT,
    NOT_FOUND,
    NOT_READY,
    PAYLOAD_TOO_LARGE,
    PERMISSION_DENIED,
    VALIDATION_ERROR,
    VERSION_EXISTS,
    Refusal,
)
from sandyard import trees
from sandyard.domain.errors import RowConflict
from sandyard.domain.prefabs import ALIAS, PREFAB_ID, Manifest, Prefab, PrefabState, PrefabVersion, Visibility
from sandyard.services.ids import new_id
from sandyard.services.prefabs import aliases
from sandyard.services.prefabs.checks import check, requirements
from sandyard.services.prefabs.manifests import read_manifest
from sandyard.services.prefabs.packs import PackBounds, unpack
from sandyard.services.prefabs.places import REQUIREMENTS, prefab_dir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from sandyard.domain.callers import Caller
    from sandyard.services.context import Context
    from sandyard.services.wakes import Wakes

PENDING = "prefab.pending"
"""The name that the build loop waits for news of."""
_CHANGES = "prefab.changes"
_CALLABLE = (PrefabState.DEPLOYED, PrefabState.YANKED)
_THERE = (PrefabState.PENDING, PrefabState.BUILDING, PrefabState.DEPLOYED, PrefabState.YANKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A version with what its description needs beside the row."""

    prefab: Prefab
    version: PrefabVersion
    manifest: Manifest


class Registry:
    """The verbs on prefabs. What a caller may not see does not exist."""

    def __init__(self, context: Context, wakes: Wakes) -> None:
        self._context = context
        self._rows = context.store.prefabs
        self._settings = context.settings
        self._wakes = wakes
        self._resolved: dict[tuple[str, str], tuple[Prefab, PrefabVersion]] = {}

    async def publish(self, caller: Caller, body: AsyncIterator[bytes], visibility: Visibility) -> tuple[Published, bool]:
        """Check a package and enter its version, to be built; False where the very same one is there already.

        Raises:
            Refusal: PERMISSION_DENIED, PAYLOAD_TOO_LARGE, PACKAGE_INVALID, VERSION_EXISTS.
        """
        _may_publish(caller)
        version_id = new_id("prefab")
        home = prefab_dir(self._settings, version_id)
        keep = False
        try:
            manifest, document, digest = await self._receive(home, body)
            prefab = await self._claim(caller, manifest.id, visibility)
            there = await self._there(manifest)
            if there is not None:
                return _same(prefab, there, manifest, digest), False
            version = await self._enter(version_id, manifest, document, digest)
            keep = True
        finally:
            if not keep:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(trees.remove, home)
        self._wakes.wake(PENDING)
        return Published(prefab=prefab, version=version, manifest=manifest), True

    async def resolve(self, caller: Caller, prefab_id: str, version: str) -> Published:
        """Return the version that a caller may call: an exact one, or the newest that the alias admits.

        Raises:
            Refusal: NOT_FOUND (the same for what is not there and what is another's), VALIDATION_ERROR, NOT_READY.
        """
        found = await self.find(caller, prefab_id, version)
        if found.version.state not in _CALLABLE:
            raise Refusal(
                NOT_READY,
                f"The version {found.version.version} of {prefab_id!r} is {found.version.state.value}",
                prefab_id=prefab_id,
                version=version,
                retry_after=2,
            )
        return found

    async def find(self, caller: Caller, prefab_id: str, version: str = "latest") -> Published:
        """Return a version in any state; one that has failed is told to its owner only.

        Raises:
            Refusal: NOT_FOUND, VALIDATION_ERROR.
        """
        if not PREFAB_ID.fullmatch(prefab_id):
            raise _missing(prefab_id, version)
        if not ALIAS.fullmatch(version):
            raise Refusal(VALIDATION_ERROR, f"{version[:100]!r} is no version such as 1.0.2, ^1 or latest", prefab_id=prefab_id)
        cached = self._resolved.get((prefab_id, version))
        prefab, row = cached or (await self._rows.get(prefab_id), None)
        if prefab is None or not _sees(caller, prefab):
            raise _missing(prefab_id, version)
        row = row or await self._choose(prefab, version)
        if row is None:
            raise _missing(prefab_id, version)
        if row.state in _CALLABLE:
            self._remember(prefab_id, version, prefab, row)
        return Published(prefab=prefab, version=row, manifest=manifest_of(row))

    async def list(self, caller: Caller, status: str | None = None) -> Sequence[Published]:
        """Return the versions that the caller sees, by prefab, newest first; `status` is a state word."""
        if status is not None and status not in set(PrefabState):
            raise Refusal(VALIDATION_ERROR, f"status must be one of {', '.join(PrefabState)}", pointer="/query/status")
        prefabs = {prefab.id: prefab for prefab in await self._rows.visible(caller.tenant)}
        rows = await self._rows.versions(states=[status] if status else [PrefabState.DEPLOYED])
        seen = [row for row in rows if row.prefab_id in prefabs and (row.state in _CALLABLE or _owns(caller, prefabs[row.prefab_id]))]
        seen.sort(key=lambda row: aliases.numbers(row.version), reverse=True)
        seen.sort(key=lambda row: row.prefab_id)
        return [Published(prefab=prefabs[row.prefab_id], version=row, manifest=manifest_of(row)) for row in seen]

    async def yank(self, caller: Caller, prefab_id: str, version: str, *, undo: bool = False) -> Published:
        """Hide a version from aliases and lists; who names it exactly can still call it. Idempotent.

        Raises:
            Refusal: NOT_FOUND, PERMISSION_DENIED, CONFLICT.
        """
        found = await self.find(caller, prefab_id, version)
        if not _owns(caller, found.prefab):
            raise Refusal(PERMISSION_DENIED, f"The prefab {prefab_id!r} belongs to somebody else")
        state = PrefabState.DEPLOYED if undo else PrefabState.YANKED
        row = await self._rows.change_version(found.version.id, _CALLABLE, state=state)
        if row is None:
            raise Refusal(CONFLICT, f"The version {version} of {prefab_id!r} is {found.version.state.value}")
        self.forget(prefab_id)
        return Published(prefab=found.prefab, version=row, manifest=found.manifest)

    async def wait(self, caller: Caller, prefab_id: str, version: str, seconds: float) -> Published:
        """Return a version when its build has ended, or after `seconds` as it is."""
        found = await self.find(caller, prefab_id, version)
        with anyio.move_on_after(seconds):
            while found.version.state in (PrefabState.PENDING, PrefabState.BUILDING) and not self._wakes.closed:
                news = self._wakes.event(found.version.id)
                row = await self._rows.version(found.version.id)
                if row is None or row.state not in (PrefabState.PENDING, PrefabState.BUILDING):
                    break
                await news.wait()
        return await self.find(caller, prefab_id, version)

    def forget(self, prefab_id: str) -> None:
        """Look the prefab up again: something of it has changed."""
        for key in [key for key in self._resolved if key[0] == prefab_id]:
            del self._resolved[key]
        self._wakes.wake(_CHANGES)

    async def changes(self) -> AsyncIterator[None]:
        """Yield at once, and then whenever something of a prefab has changed, until the server ends."""
        while not self._wakes.closed:
            news = self._wakes.event(_CHANGES)
            yield
            await news.wait()

    async def sweep(self) -> None:
        """Remove the directories that a killed server left without a row; call it before anyone may publish."""
        known = {row.id for row in await self._rows.versions() if row.state is not PrefabState.FAILED}
        await anyio.to_thread.run_sync(_remove_others, self._settings.data_dir / "prefabs", known)

    async def _receive(self, home: Path, body: AsyncIterator[bytes]) -> tuple[Manifest, Any, str]:
        gateway = self._settings.gateway
        archive = home / "package.zip"
        await anyio.Path(home).mkdir(parents=True)
        await _spool(body, archive, gateway.package_bytes)
        bounds = PackBounds(unpacked_bytes=gateway.unpacked_bytes, files=gateway.package_files)

        def work() -> tuple[Manifest, Any, str]:
            unpacked = unpack(archive, home / "app", bounds)
            archive.unlink()
            manifest = check(home / "app", unpacked.document)
            (home / REQUIREMENTS).write_text("".join(f"{line}\n" for line in requirements(home / "app")))
            return manifest, unpacked.document, unpacked.digest

        return await anyio.to_thread.run_sync(work)

    async def _claim(self, caller: Caller, prefab_id: str, visibility: Visibility) -> Prefab:
        mine = Prefab(id=prefab_id, owner=caller.tenant, visibility=visibility, created_at=self._context.clock.now())
        prefab = await self._rows.claim(mine)
        if not _owns(caller, prefab):
            raise Refusal(PERMISSION_DENIED, f"The prefab id {prefab_id!r} belongs to somebody else; choose another one")
        if prefab.visibility != visibility:
            await self._rows.show(prefab_id, visibility)
            self.forget(prefab_id)
        return prefab

    async def _there(self, manifest: Manifest) -> PrefabVersion | None:
        rows = await self._rows.versions(prefab_id=manifest.id, states=_THERE)
        return next((row for row in rows if row.version == manifest.version), None)

    async def _enter(self, version_id: str, manifest: Manifest, document: Any, digest: str) -> PrefabVersion:
        version = PrefabVersion(
            id=version_id,
            prefab_id=manifest.id,
            version=manifest.version,
            state=PrefabState.PENDING,
            digest=digest,
            manifest=document,
            warnings=manifest.warnings,
            created_at=self._context.clock.now(),
        )
        try:
            await self._rows.add_version(version)
        except RowConflict:
            raise _exists(manifest) from None
        self.forget(manifest.id)
        return version

    async def _choose(self, prefab: Prefab, version: str) -> PrefabVersion | None:
        rows = await self._rows.versions(prefab_id=prefab.id)
        if aliases.is_exact(version):
            return next((row for row in rows if row.version == version), None)
        deployed = {row.version: row for row in rows if row.state is PrefabState.DEPLOYED}
        best = aliases.newest(deployed, version)
        return None if best is None else deployed[best]

    def _remember(self, prefab_id: str, version: str, prefab: Prefab, row: PrefabVersion) -> None:
        if len(self._resolved) > 4096:
            self._resolved.clear()
        self._resolved[prefab_id, version] = (prefab, row)


def manifest_of(row: PrefabVersion) -> Manifest:
    """Return the checked manifest of a version's row."""
    return _manifest(row.digest, orjson.dumps(row.manifest))


@lru_cache(maxsize=512)
def _manifest(_digest: str, document: bytes) -> Manifest:
    return read_manifest(orjson.loads(document))


def _same(prefab: Prefab, there: PrefabVersion, manifest: Manifest, digest: str) -> Published:
    if there.digest != digest:
        raise _exists(manifest)
    return Published(prefab=prefab, version=there, manifest=manifest)


def _exists(manifest: Manifest) -> Refusal:
    message = f"The version {manifest.version} of {manifest.id!r} is published already, with other content; raise the version"
    return Refusal(VERSION_EXISTS, message, prefab_id=manifest.id, version=manifest.version)


def _may_publish(caller: Caller) -> None:
    if caller.kind != "key":
        raise Refusal(PERMISSION_DENIED, "Prefabs are published with an API key")


def _owns(caller: Caller, prefab: Prefab) -> bool:
    return caller.tenant == prefab.owner


def _sees(caller: Caller, prefab: Prefab) -> bool:
    return prefab.visibility == "public" or _owns(caller, prefab)


def _missing(prefab_id: str, version: str) -> Refusal:
    shown = f"{prefab_id[:100]!r}" if version == "latest" else f"{prefab_id[:100]!r} {version[:100]}"
    return Refusal(NOT_FOUND, f"There is no prefab {shown}", prefab_id=prefab_id[:100], version=version[:100])


async def _spool(body: AsyncIterator[bytes], path: Path, limit: int) -> None:
    size = 0
    async with await anyio.open_file(path, "xb") as file:
        async for chunk in body:
            size += len(chunk)
            if size > limit:
                raise Refusal(PAYLOAD_TOO_LARGE, f"The package is larger than {limit // 2**20} MiB", limit=limit)
            await file.write(chunk)
    if not size:
        raise Refusal(BAD_REQUEST, "The body is empty; it must be a wheel, or a zip of the prefab's directory")


def _remove_others(directory: Path, known: set[str]) -> None:
    if directory.is_dir():
        for path in directory.iterdir():
            if path.name not in known:
                trees.remove(path)
