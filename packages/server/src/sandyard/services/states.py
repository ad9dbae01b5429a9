"""Saved states: what sandboxes had written, kept for those that begin with it: forks, and sandboxes paused without memory."""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from sandyard import trees

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection
    from pathlib import Path

    from sandyard.services.context import Context


class States:
    """Each is a directory below `DATA/states`, never changed, there as long as a sandbox that has not ended stands on it."""

    def __init__(self, context: Context) -> None:
        self._rows = context.store.sandboxes
        self._snapshots = context.snapshots
        self._home = context.settings.data_dir / "states"
        self._pins: Counter[str] = Counter()

    def path(self, state_id: str) -> Path:
        """Return the directory of a state, for `SandboxSpec.restore`."""
        return self._home / state_id

    @asynccontextmanager
    async def saved(self, sandbox_id: str) -> AsyncGenerator[str]:
        """Save a sandbox's files and yield the state's id; it stays after the block if a sandbox stands on it by then.

        Raises:
            SandboxGone, BackendUnavailable, NotSupported: see `ports.Snapshots.save`; nothing is left.
        """
        await anyio.Path(self._home).mkdir(mode=0o700, exist_ok=True)
        state_id = secrets.token_hex(10)
        self._pins[state_id] += 1
        try:
            await self._snapshots.save(sandbox_id, self.path(state_id))
            yield state_id
        finally:
            await self._unpin(state_id)

    @asynccontextmanager
    async def held(self, state_id: str) -> AsyncGenerator[str]:
        """Keep a state through the block."""
        self._pins[state_id] += 1
        try:
            yield state_id
        finally:
            await self._unpin(state_id)

    async def release(self, *state_ids: str) -> None:
        """Remove those states on which nothing stands any more."""
        for state_id in filter(None, state_ids):
            if not self._pins[state_id] and not await self._rows.restored(state_id):
                await anyio.to_thread.run_sync(trees.remove, self.path(state_id))

    async def sweep(self) -> None:
        """Remove what a killed server left; call it before anyone may start a sandbox."""
        await self.release(*await anyio.to_thread.run_sync(_names, self._home))

    async def _unpin(self, state_id: str) -> None:
        self._pins[state_id] -= 1
        if not self._pins[state_id]:
            del self._pins[state_id]
        with anyio.CancelScope(shield=True):
            await self.release(state_id)


def _names(directory: Path) -> Collection[str]:
    return [path.name for path in directory.iterdir()] if directory.is_dir() else []
