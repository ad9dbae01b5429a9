"""Sandboxes made of sandboxes: snapshots, forks, clones."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from sandkit.wire.errors import SANDBOX_NOT_FOUND, ApiError
from sandyard.domain.errors import BackendError, SandboxGone
from sandyard.services.creation import NewSandbox, said

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from sandyard.domain.sandboxes import Sandbox
    from sandyard.services.company import Company
    from sandyard.services.lifecycle import Lifecycle
    from sandyard.services.sandboxes import Sandboxes, SandboxView
    from sandyard.services.snapshots import Snapshots, SnapshotView


@dataclass(frozen=True, slots=True, kw_only=True)
class Clones:
    """The sandboxes that came about, and the snapshot that they were made from."""

    views: Sequence[SandboxView]
    snapshot: SnapshotView


class Copies:
    """The verbs that make more of a sandbox; it runs on, or stays paused, and stands still while its files are saved."""

    def __init__(self, sandboxes: Sandboxes, snapshots: Snapshots, lifecycle: Lifecycle, company: Company) -> None:
        self._sandboxes = sandboxes
        self._lifecycle = lifecycle
        self._snapshots = snapshots
        self._company = company

    async def snapshot(self, owner: str, sandbox_id: str, name: str | None) -> SnapshotView:
        """Save a sandbox as a template.

        Raises:
            ApiError: see `Snapshots.create`; `not_implemented` where the back end keeps no files.
        """
        row = await self._sandboxes.find(owner, sandbox_id)
        build = await self._company.blueprints.build_of(row)
        async with self._lifecycle.steady(row.id):
            row = await self._sandboxes.find(owner, row.id)
            try:
                made = await self._snapshots.create(row, build, name)
            except BackendError as error:
                raise _refused(error, row) from None
        await self._company.events.note(row, "snapshotted", snapshot=made.names[0])
        return made

    async def fork(self, owner: str, sandbox_id: str, *, count: int, seconds: float) -> Sequence[SandboxView | ApiError]:
        """Make `count` sandboxes that begin with the files of this one, saved once; each is there, or why it is not.

        Raises:
            ApiError: the files cannot be saved: `not_implemented`, `unavailable`.
        """
        row = await self._sandboxes.find(owner, sandbox_id)
        async with AsyncExitStack() as stack:
            async with self._lifecycle.steady(row.id):
                row = await self._sandboxes.find(owner, row.id)
                try:
                    state = await stack.enter_async_context(self._state_of(row))
                except BackendError as error:
                    raise _refused(error, row) from None
            return await _all(count, lambda: self._sandboxes.copy(row, state, seconds))

    async def clone(self, owner: str, sandbox_id: str, *, count: int, seconds: float | None, strict: bool) -> Clones:
        """Save a sandbox as a template and make `count` of it.

        Raises:
            ApiError: the snapshot failed; or a sandbox failed, and `strict` was asked for, or all failed.
        """
        row = await self._sandboxes.find(owner, sandbox_id)
        snapshot = await self.snapshot(owner, sandbox_id, None)
        wanted = NewSandbox(
            template=snapshot.names[0],
            timeout=seconds or row.timeout,
            on_timeout=row.on_timeout,
            keep_memory=row.keep_memory,
            auto_resume=row.auto_resume,
            public=row.public,
            metadata=row.metadata,
            env=await self._company.variables.of(row),
            volumes=[(mount.volume_id, mount.path) for mount in row.volumes],
            network=row.network,
            memory_mb=row.memory_mb,
            cpu_count=row.cpu_count,
        )
        results = await _all(count, lambda: self._sandboxes.create(owner, wanted))
        views = [result for result in results if not isinstance(result, ApiError)]
        failures = [result for result in results if isinstance(result, ApiError)]
        if failures and (strict or not views):
            for view in views:
                await self._sandboxes.kill(owner, view.sandbox.id)
            raise failures[0]
        return Clones(views=views, snapshot=snapshot)

    def _state_of(self, row: Sandbox) -> AbstractAsyncContextManager[str]:
        """Hold the state that a fork begins with: a sandbox that was paused without memory has one already."""
        states = self._company.states
        return states.held(row.restore) if row.saved else states.saved(row.id)


async def _all(count: int, make: Callable[[], Awaitable[SandboxView]]) -> Sequence[SandboxView | ApiError]:
    """Make `count` at once; how many really start at once is for the admission."""
    results: dict[int, SandboxView | ApiError] = {}

    async def one(number: int) -> None:
        try:
            results[number] = await make()
        except ApiError as error:
            results[number] = error

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
    return [results[number] for number in range(count)]


def _refused(error: BackendError, row: Sandbox) -> ApiError:
    if isinstance(error, SandboxGone):
        return ApiError(SANDBOX_NOT_FOUND, f"The sandbox {row.id!r} ended before it was saved")
    return said(error, row.id)
