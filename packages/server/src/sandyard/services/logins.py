"""Registry logins of builds that wait or run: in memory alone, so that no database holds them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandyard.domain.logins import Login

_MOST = 10_000


class Logins:
    """Logins by build. What a restart of the server forgets fails its build with a sentence that says so."""

    def __init__(self) -> None:
        self._logins: OrderedDict[str, Login] = OrderedDict()

    def put(self, build_id: str, login: Login) -> None:
        self._logins[build_id] = login
        while len(self._logins) > _MOST:
            self._logins.popitem(last=False)

    def take(self, build_id: str) -> Login | None:
        """Return and forget."""
        return self._logins.pop(build_id, None)
