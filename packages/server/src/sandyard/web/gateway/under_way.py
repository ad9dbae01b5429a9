"""Calls of tools that run, so that who made one can take it back by its request's id."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable


class UnderWay:
    """Scopes of running calls, by who made them and under which id.

    Clients choose ids, and without sessions two of one caller's may choose the same: then nobody can say which one is meant, and neither
    is ended.
    """

    def __init__(self) -> None:
        self._scopes: defaultdict[tuple[Hashable, Hashable], list[anyio.CancelScope]] = defaultdict(list)

    @contextmanager
    def hold(self, who: Hashable, request_id: Hashable) -> Generator[anyio.CancelScope]:
        """Give a scope that `cancel` ends."""
        place = (who, request_id)
        with anyio.CancelScope() as scope:
            self._scopes[place].append(scope)
            try:
                yield scope
            finally:
                self._scopes[place].remove(scope)
                if not self._scopes[place]:
                    del self._scopes[place]

    def cancel(self, who: Hashable, request_id: Hashable) -> None:
        """End the call that `who` has made under that id, if it runs."""
        match self._scopes.get((who, request_id), []):
            case [scope]:
                scope.cancel()
            case _:
                pass  # it has ended meanwhile, or cannot be told from another
