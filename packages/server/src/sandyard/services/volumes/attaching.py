"""Volumes of sandboxes that are there already: given to them and taken from them, in their row and in what lives."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from sandkit.wire.errors import CONFLICT, NOT_FOUND, ApiError
from sandyard.domain.errors import BackendError, MountRefused, NotSupported, RowConflict, SandboxGone
from sandyard.domain.sandboxes import SandboxState
from sandyard.services.creation import said

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from sandyard.domain.sandboxes import Sandbox
    from sandyard.domain.specs import Mount
    from sandyard.domain.volumes import VolumeMount
    from sandyard.services.context import Context
    from sandyard.services.lifecycle import Lifecycle
    from sandyard.services.sandboxes import Sandboxes
    from sandyard.services.volumes.volumes import Volumes

_THERE = (SandboxState.RUNNING, SandboxState.PAUSED)


class Attaching:
    """The row comes first: a volume that a sandbox may have is not deleted, and one that is paused with its files only, or is made
    anew, starts with what its row says.
    """

    def __init__(self, context: Context, sandboxes: Sandboxes, lifecycle: Lifecycle, volumes: Volumes) -> None:
        self._rows = context.store.sandboxes
        self._mounts = context.mounts
        self._sandboxes = sandboxes
        self._lifecycle = lifecycle
        self._volumes = volumes

    async def attach(self, owner: str, sandbox_id: str, name: str, path: str) -> VolumeMount:
        """Give a sandbox the volume of that name (or id) at `path`.

        Raises:
            ApiError: `sandbox_not_found`, `not_found`, `invalid_request`; `conflict`: something inside is in the way;
                `not_implemented`: not on this machine; `unavailable`.
        """
        row = await self._sandboxes.find(owner, sandbox_id)
        async with self._lifecycle.steady(row.id):
            row = await self._sandboxes.find(owner, row.id)
            given = await self._volumes.joined(owner, row.volumes, name, path)
            await self._have(row, [*row.volumes, given])
            if not row.saved:
                (mount,) = self._volumes.shown([given])
                await self._done(row, self._mount(row, mount))
            return given

    async def detach(self, owner: str, sandbox_id: str, path: str, *, force: bool) -> VolumeMount:
        """Take from a sandbox the volume that it has at `path`; with `force` also while files in it are open.

        Raises:
            ApiError: as `attach`; `not_found`: it has none there; `conflict`: it is in use.
        """
        row = await self._sandboxes.find(owner, sandbox_id)
        async with self._lifecycle.steady(row.id):
            row = await self._sandboxes.find(owner, row.id)
            taken = next((mount for mount in row.volumes if mount.path == path), None)
            if taken is None:
                raise ApiError(NOT_FOUND, f"The sandbox {row.id} has no volume at {path[:200]!r}")
            if not row.saved:
                (mount,) = self._volumes.shown([taken])
                await self._done(row, self._mounts.unmount(row.id, mount, force=force))
            await self._have(row, [mount for mount in row.volumes if mount is not taken])
            return taken

    async def _mount(self, row: Sandbox, mount: Mount) -> None:
        """Where it cannot be known that nothing was mounted, the row keeps the volume: it is not deleted below a sandbox."""
        try:
            await self._mounts.mount(row.id, mount)
        except (MountRefused, NotSupported):
            await self._have(row, row.volumes)
            raise
        except BaseException:  # also given up in the middle
            with anyio.CancelScope(shield=True), suppress(BackendError, ApiError):
                await self._mounts.unmount(row.id, mount, force=True)
                await self._have(row, row.volumes)
            raise

    async def _have(self, row: Sandbox, mounts: Sequence[VolumeMount]) -> None:
        try:
            changed = await self._rows.change(row.id, _THERE, volumes=tuple(mounts))
        except RowConflict as error:
            raise ApiError(CONFLICT, f"The volume cannot be mounted: {error}") from None
        if changed is None:
            await self._sandboxes.find(row.owner, row.id)  # it has ended: says how

    async def _done(self, row: Sandbox, act: Awaitable[None]) -> None:
        try:
            await act
        except MountRefused as error:
            raise ApiError(CONFLICT, str(error)) from None
        except SandboxGone:
            await self._sandboxes.find(row.owner, row.id)
            raise ApiError(CONFLICT, f"The sandbox {row.id} is just ending") from None
        except BackendError as error:
            raise said(error, row.id) from None
