"""Registry logins of builds that wait or run: in memory alone, so that no database holds them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST = 10_000


class Logins:
    """User name and password by build. What a restart of the server forgets fails its build with a sentence that says so."""

    def __init__(self) -> None:
        self._logins: OrderedDict[str, Mapping[str, str]] = OrderedDict()

    def put(self, build_id: str, login: Mapping[str, str]) -> None:
        self._logins[build_id] = login
        while len(self._logins) > _MOST:
            self._logins.popitem(last=False)

    def take(self, build_id: str) -> Mapping[str, str] | None:
        """Return and forget."""
        return self._logins.pop(build_id, None)
