"""The store's ports for what sandboxes are given: volumes and secrets. Part of `ports.Store`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.domain.secrets import SandboxSecret
    from sandyard.domain.volumes import Volume


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
