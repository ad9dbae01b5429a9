"""Directories outside that sandboxes may write: who uses which, and giving them back when nobody does any more."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from . import ownership, processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop
    from .records import Record


class Volumes:
    """What the sandboxes of one keeper hold. A directory is given back by a child, for which whoever wants it next waits."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._users: dict[str, set[str]] = {}
        self._returning: set[int] = set()

    def hold(self, record: Record) -> None:
        """Count a sandbox, which is about to start or was adopted, as a user of its directories."""
        for path in record.shares:
            self._users.setdefault(path, set()).add(record.sandbox_id)

    def let_go(self, record: Record, then: Callable[[], None]) -> None:
        """Forget an ended sandbox; call `then` when what it alone had is the server's again."""
        for path in record.shares:
            self._users.get(path, set()).discard(record.sandbox_id)
        unused = [path for path in record.give_back if not self._users.get(path)]
        if not unused:
            then()
            return
        _, pidfd = processes.fork(lambda: _give_back(unused))
        self._returning.add(pidfd)
        self._loop.watch(pidfd, lambda: self._on_returned(pidfd, then))

    def returning(self) -> tuple[int, ...]:
        """Return pidfds of the children that are at work."""
        return tuple(self._returning)

    def _on_returned(self, pidfd: int, then: Callable[[], None]) -> None:
        self._returning.discard(pidfd)
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        then()


def _give_back(paths: list[str]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            ownership.give(path, os.geteuid())
