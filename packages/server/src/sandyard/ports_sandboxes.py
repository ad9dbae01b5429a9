"""The ports for what sandboxes are given: rows of volumes and secrets (part of `ports.Store`), and mounts in those that live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.domain.secrets import SandboxSecret
    from sandyard.domain.specs import Mount
    from sandyard.domain.volumes import Volume


class Mounts(Protocol):
    """Directories of living sandboxes, frozen or not; a further small port of the back end's object. Both verbs are idempotent."""

    async def mount(self, sandbox_id: str, mount: Mount) -> None:
        """Show a "rw" directory in a sandbox as if it had started with it; directories on the way are made where they are missing.

        Raises:
            SandboxGone: it does not live (any more).
            MountRefused: no directory can be had at the target.
            NotSupported: not with this back end, or not on this machine.
            BackendUnavailable: the platform could not do it now.
        """
        ...

    async def unmount(self, sandbox_id: str, mount: Mount, *, force: bool) -> None:
        """Take it away; no error if it is not there. With `force` also while files in it are open: those stay so until closed.

        Raises:
            MountRefused: it is in use.
            SandboxGone, NotSupported, BackendUnavailable: as `mount`.
        """
        ...


class VolumeRows(Protocol):
    """Rows of volumes. A sandbox's row with a volume that is not there is refused (`SandboxRows.add` raises RowConflict)."""

    async def add(self, volume: Volume) -> None:
        """Insert.

        Raises:
            RowConflict: its owner has one of that name.
        """
        ...

    async def get(self, volume_id: str) -> Volume | None: ...

    async def find(self, owner: str, name: str) -> Volume | None: ...

    async def list(self, owner: str | None = None) -> Sequence[Volume]:
        """Oldest first; without an owner all there are."""
        ...

    async def rename(self, volume_id: str, name: str) -> Volume | None:
        """Return the new row.

        Raises:
            RowConflict: its owner has one of that name.
        """
        ...

    async def users(self, volume_id: str) -> Sequence[str]:
        """Return the ids of the sandboxes that are not final and have it."""
        ...

    async def delete(self, volume_id: str) -> bool:
        """Delete a volume that no sandbox has which is not final, in one statement; False if nothing was deleted."""
        ...


class SandboxSecretRows(Protocol):
    """Rows of sealed secrets; names are told apart whatever their case."""

    async def add(self, secret: SandboxSecret) -> None:
        """Insert.

        Raises:
            RowConflict: its owner has one of that name.
        """
        ...

    async def find(self, owner: str, reference: str) -> SandboxSecret | None:
        """Return the owner's secret with that id or name."""
        ...

    async def list(self, owner: str, *, limit: int, after: str = "") -> Sequence[SandboxSecret]:
        """By name, from the one after the name `after`."""
        ...

    async def everyone(self) -> Sequence[SandboxSecret]: ...

    async def change(self, secret: SandboxSecret, expected: int) -> bool:
        """Replace the row with that id if its version is still `expected`."""
        ...

    async def remove(self, secret_id: str) -> bool: ...
