"""The isolation that a sandbox really has: the fields of `domain.sandboxes.Isolation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cgroups import Group
    from .host import Host
    from .records import Record

_NAMESPACES = ("user", "pid", "mount", "net", "ipc", "uts", "cgroup")
_NO_PAUSE = "Without isolation and control groups it cannot be paused."
_BARE = "This sandbox is not isolated: it runs as the user of the server, and can read and change what that user can."
_SHARED = "All sandboxes share the user id of the one who runs the server: they are parted by namespaces only."
_NO_ROOT = "There is no root inside: a server that is not started by root can map no user ids, so that packages cannot be installed."


def fields(record: Record, host: Host, group: Group | None, more: tuple[str, ...]) -> dict[str, Any]:
    """Return them; `more` are the launcher's notes."""
    freezes = group is not None and group.can_freeze
    if record.bare:
        notes = (_BARE, *(() if freezes else (_NO_PAUSE,)), *more)
        return {"user": "none", "limits": host.cgroups.enforced, "freeze": "cgroup" if freezes else "signals", "notes": notes}
    own, root = record.uid is not None, record.ids > 1
    by_rlimit = ("processes",) if own or host.limits_inside else ()
    weaker = (*(() if own else (_SHARED,)), *((_NO_ROOT,) if record.system == "writable" and not root else ()))
    return {
        "user": "own" if own else "shared",
        "namespaces": _NAMESPACES,
        "seccomp": True,
        "limits": tuple(dict.fromkeys((*host.cgroups.enforced, *by_rlimit))),
        "disk_limit": True,
        "freeze": "cgroup" if freezes else "signals",
        "root": root,
        "notes": (*weaker, *host.cgroups.explain(by_rlimit), *more),
    }
