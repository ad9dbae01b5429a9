"""`filesystem.Filesystem`: look at, list, make, move and remove what is there, with the client's identity; watching is in `watch_service`.

A system call at a time: nothing waits while the identity is changed. What may take long (a tree to remove, a move to another file
system) is done by `rm` and `mv`, as the client could do it itself.
"""

from __future__ import annotations

import errno
import os
import stat

from sandkit.guest.envd.entries import entry
from sandkit.guest.envd.rpc import Fields, RpcError, printable
from sandkit.guest.envd.users import Acting, forget_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandkit.guest.envd.process_service import Processes
    from sandkit.guest.envd.rpc import Call, Json, Services
    from sandkit.guest.envd.users import User

NAME = "filesystem.Filesystem"
_TURN = 128  # entries between two turns of the others
_ENTRIES = 200_000  # of one listing


class Filesystem:
    """The unary methods. `processes` runs what is left to programs."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def install(self, services: Services) -> None:
        services.add(
            NAME,
            {"Stat": self._stat, "ListDir": self._list, "MakeDir": self._make, "Move": self._move, "Remove": self._remove},
        )

    async def _stat(self, call: Call, message: Json) -> Json:
        user = call.user
        forget_names()
        with Acting(user):
            return {"entry": entry(path_of(user, message, "path"))}

    async def _list(self, call: Call, message: Json) -> Json:
        user = call.user
        depth = Fields(message).number("depth") or 1
        path = path_of(user, message, "path")
        root = directory(user, path)
        with Acting(user):
            os.listdir(root)  # noqa: PTH208 (pathlib takes 6 ms to import; what may not be read is an error here, and skipped further down)
        forget_names()
        return {"entries": await _Listing(call, user, root, path).collect(depth)}

    async def _make(self, call: Call, message: Json) -> Json:
        user = call.user
        path = path_of(user, message, "path")
        with Acting(user):
            _make(path)
            return {"entry": entry(path)}

    async def _move(self, call: Call, message: Json) -> Json:
        user = call.user
        source, destination = path_of(user, message, "source"), path_of(user, message, "destination")
        try:
            with Acting(user):
                os.lstat(source)
                os.makedirs(os.path.dirname(destination), exist_ok=True)  # noqa: PTH103, PTH120 (as above)
                os.rename(source, destination)  # noqa: PTH104 (as above)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            await self._run(user, ["mv", "-T", "--", source, destination])
        with Acting(user):
            return {"entry": entry(destination)}

    async def _remove(self, call: Call, message: Json) -> Json:
        user = call.user
        path = path_of(user, message, "path")
        try:
            with Acting(user):
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    os.rmdir(path)  # noqa: PTH106 (as above)
                else:
                    os.unlink(path)  # noqa: PTH108 (as above)
        except FileNotFoundError:
            return {}  # it is gone, as was asked
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            await self._run(user, ["rm", "-rf", "--", path])
        return {}

    async def _run(self, user: User, command: list[str]) -> None:
        code, said = await self._processes.helper(user, command)
        if code:
            raise RpcError("permission_denied" if "ermi" in said else "internal", said or f"{command[0]} failed with code {code}.")


class _Listing:
    """A walk through a directory, breadth in order of names, links not followed."""

    def __init__(self, call: Call, user: User, root: str, shown: str) -> None:
        self._call = call
        self._user = user
        self._found: list[Json] = []
        self._root = root
        self._shown = shown

    async def collect(self, depth: int) -> list[Json]:
        """Return what is in it, and in what is in it, `depth` levels down; each directory stands before its contents."""
        left = [("", 1)]
        while left:
            relative, level = left.pop()
            below = await self._one(relative)
            if level < depth:
                left.extend((each, level + 1) for each in reversed(below))
        return self._found

    async def _one(self, relative: str) -> list[str]:
        """Add the entries of one directory; return those that are directories."""
        below: list[str] = []
        try:
            with Acting(self._user):
                names = sorted(os.listdir(os.path.join(self._root, relative)))  # noqa: PTH118, PTH208 (pathlib takes 6 ms to import)
        except OSError:
            return below  # it went meanwhile, or is closed to this user
        if len(self._found) + len(names) > _ENTRIES:
            raise RpcError("resource_exhausted", f"There are more than {_ENTRIES} entries: list with a smaller depth.")
        for start in range(0, len(names), _TURN):
            with Acting(self._user):
                for name in names[start : start + _TURN]:
                    self._add(f"{relative}/{name}" if relative else name, below)
            await self._call.loop.turn()
        return below

    def _add(self, relative: str, below: list[str]) -> None:
        try:
            found = entry(os.path.join(self._root, relative), os.path.join(self._shown, relative))  # noqa: PTH118 (as above)
        except OSError:
            return  # it went meanwhile
        self._found.append(found)
        if found["type"] == "FILE_TYPE_DIRECTORY" and "isSymlink" not in found:
            below.append(relative)


def directory(user: User, path: str) -> str:
    """Return where the directory at `path` really lies.

    Raises:
        OSError: there is none that the user may reach; RpcError: it is no directory.
    """
    with Acting(user):
        root = os.path.realpath(path, strict=True)
        if not stat.S_ISDIR(os.stat(root).st_mode):  # noqa: PTH116 (pathlib takes 6 ms to import)
            raise RpcError("invalid_argument", f"{printable(path)} is not a directory.")
    return root


def _make(path: str) -> None:
    if os.path.isdir(path):  # noqa: PTH112 (pathlib takes 6 ms to import)
        raise RpcError("already_exists", f"The directory {printable(path)} exists.")
    if os.path.lexists(path):
        raise RpcError("invalid_argument", f"{printable(path)} exists, and is not a directory.")
    os.makedirs(path)  # noqa: PTH103 (as above)


def path_of(user: User, message: Json, name: str) -> str:
    """Return the path that a message names.

    Raises:
        RpcError: it names none.
    """
    text = Fields(message).text(name)
    if not text:
        raise RpcError("invalid_argument", f"{name!r} must be a path.")
    return user.path(text)
