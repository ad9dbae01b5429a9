"""The ids of one sandbox, and the user namespaces that show the files of others as its own."""

from __future__ import annotations

import os

from . import ownership, uids
from .ownership import USER_ID


class Identity:
    """`uid` is the sandbox's own host uid, or with `has_root` the first of its range; None: the keeper's is for all.

    `processes` bounds what lives in the user namespace of a sandbox that has a root.
    """

    def __init__(self, uid: int | None, *, has_root: bool, processes: int) -> None:
        self.uid = uid
        self.has_root = has_root
        self.namespace = None if uid is None or not has_root else ownership.mapping(0, uid, uids.RANGE, processes=processes)
        """The user namespace that a sandbox with a root lives in."""
        self._made: dict[str, int] = {} if self.namespace is None else {"own": self.namespace}

    def host(self, inside: int) -> int | None:
        """Return the host's id of one inside; where there is one id only, it stands for all."""
        return self.uid if self.uid is None or not self.has_root else self.uid + inside

    def mapping(self, ids: str) -> int | None:
        """Return the namespace that shows files owned as `ids` says (`system.Tree`); None: they are shown as they are."""
        user = self.host(USER_ID)
        if user is None or self.uid is None:
            return None
        if ids not in self._made:
            self._made[ids] = {
                "server": lambda: ownership.mapping(os.geteuid(), user),
                "own": lambda: ownership.mapping(USER_ID, user),
                "stored": lambda: ownership.stored(self.uid or 0, uids.RANGE if self.has_root else 1),
            }[ids]()
        return self._made[ids]

    def shown(self, ids: str, stored: int) -> int:
        """Return the host's id under which a file owned by `stored` is to be shown, where it cannot be mapped."""
        inside = stored if ids == "own" else USER_ID
        return self.host(inside) or 0
