"""What commands do on a data directory itself, beside its server or without one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sandyard.app.clock import SystemClock
from sandyard.domain.callers import operator
from sandyard.services.audit.chain import Chain
from sandyard.services.data_dir import DATABASE
from sandyard.services.envelopes import MASTER_FILE, Envelopes, KeyCommand, KeyFile
from sandyard.services.keys import Keys
from sandyard.services.sandbox_secrets import SandboxSecrets
from sandyard.services.secrets.keeping import Secrets
from sandyard.services.variables import Variables
from sandyard.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from sandyard.ports import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offline:
    """The rows of a data directory, and the audit over them."""

    store: Store
    audit: Chain


async def with_rows(data_dir: Path, work: Callable[[Offline], Coroutine[object, object, T]]) -> T:
    """Run `work` on the rows of a data directory."""
    store = await SqliteStore.open(data_dir / DATABASE)
    try:
        return await work(Offline(store, await Chain.open(store.audit, data_dir / "secrets", SystemClock())))
    finally:
        await store.close()


async def with_keys(data_dir: Path, work: Callable[[Keys], Coroutine[object, object, T]]) -> T:
    """Run `work` on the keys of a data directory."""

    async def opened(offline: Offline) -> T:
        return await work(await Keys.open(offline.store.keys, offline.audit, SystemClock(), data_dir / "secrets"))

    return await with_rows(data_dir, opened)


async def renew_secrets(data_dir: Path, command: tuple[str, ...]) -> tuple[int, int]:
    """Put every secret, of prefabs and of sandboxes, and the variables of sandboxes under the newest master key: of the command, or a
    new one in the file.

    Return how many were changed, and how many do not open.
    """
    file = KeyFile(data_dir / "secrets" / MASTER_FILE)
    if not command:
        await asyncio.to_thread(file.rotate)
    envelopes = Envelopes(KeyCommand(command) if command else file)

    async def work(offline: Offline) -> tuple[int, int]:
        store, clock = offline.store, SystemClock()
        counts = [
            await Secrets(store.secrets, envelopes, clock).renew(),
            await SandboxSecrets(store.sandbox_secrets, envelopes, clock).renew(),
            await Variables(envelopes).renew(store.sandboxes),
        ]
        changed, broken = sum(changed for changed, _ in counts), sum(broken for _, broken in counts)
        await offline.audit.note(operator("default"), "secrets.rotate", "all secrets", f"{changed} changed, {broken} do not open")
        return changed, broken

    return await with_rows(data_dir, work)
