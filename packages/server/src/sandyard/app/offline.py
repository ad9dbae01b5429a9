"""What commands do on a data directory itself, beside its server or without one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sandyard.app.platform import SystemClock
from sandyard.services.audit.chain import Chain
from sandyard.services.data_dir import DATABASE
from sandyard.services.envelopes import MASTER_FILE, Envelopes, KeyCommand, KeyFile
from sandyard.services.secrets.keeping import Secrets
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


async def renew_secrets(data_dir: Path, command: tuple[str, ...]) -> tuple[int, int]:
    """Put every secret under the newest master key: of the command, or a new one in the file.

    Return how many were changed, and how many do not open.
    """
    file = KeyFile(data_dir / "secrets" / MASTER_FILE)
    if not command:
        await asyncio.to_thread(file.rotate)
    envelopes = Envelopes(KeyCommand(command) if command else file)
    return await with_rows(data_dir, lambda offline: Secrets(offline.store.secrets, envelopes, SystemClock()).renew())
