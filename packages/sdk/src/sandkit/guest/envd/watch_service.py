"""Watching directories: as a stream (WatchDir) and by asking (CreateWatcher, GetWatcherEvents, RemoveWatcher)."""

from __future__ import annotations

import os

from sandkit.guest.envd.entries import entry
from sandkit.guest.envd.filesystem_service import NAME, directory, path_of
from sandkit.guest.envd.rpc import Fields, RpcError, printable
from sandkit.guest.envd.users import Acting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandkit.guest.envd.inotify import Watcher
    from sandkit.guest.envd.loop import Loop
    from sandkit.guest.envd.rpc import Call, Json, Services, Stream
    from sandkit.guest.envd.users import User

_WATCHERS = 64  # that are asked; the machine's own limit for all sandboxes of a user is often 128
_GONE = ("EVENT_TYPE_REMOVE", "EVENT_TYPE_RENAME")  # there is nothing at that path any more
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "fuse")
_LOST = "Events were lost: more happened at once than can be queued. Look at the directory again, and watch anew."


class _Asked:
    """A watcher that waits to be asked."""

    __slots__ = ("include_entry", "user", "watcher")

    def __init__(self, watcher: Watcher, user: User, *, include_entry: bool) -> None:
        self.watcher = watcher
        self.user = user
        self.include_entry = include_entry


class Watching:
    """The four methods."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._asked: dict[str, _Asked] = {}

    def install(self, services: Services) -> None:
        services.add(
            NAME,
            {"CreateWatcher": self._create, "GetWatcherEvents": self._events, "RemoveWatcher": self._remove},
            {"WatchDir": self._watch},
        )

    async def _watch(self, call: Call, message: Json, stream: Stream) -> None:
        user, include_entry = call.user, Fields(message).flag("includeEntry")
        watcher = await self._open(user, message)
        try:
            await stream.begin()
            await stream.send({"start": {}})
            while True:
                events = watcher.take()
                for event in events:
                    await stream.send({"filesystem": _shown(watcher, user, event, include_entry=include_entry)})
                if watcher.lost:
                    raise RpcError("data_loss", _LOST)
                if not events:
                    await self._wait(call, watcher, stream)
        finally:
            watcher.close()

    async def _wait(self, call: Call, watcher: Watcher, stream: Stream) -> None:
        try:
            with self._loop.limit(call.keepalive):
                await watcher.bell.wait()
        except TimeoutError:
            await stream.send({"keepalive": {}})

    async def _create(self, call: Call, message: Json) -> Json:
        if len(self._asked) >= _WATCHERS:
            raise RpcError("resource_exhausted", f"There are {_WATCHERS} watchers: remove one first.")
        user = call.user
        watcher = await self._open(user, message)
        name = os.urandom(8).hex()
        self._asked[name] = _Asked(watcher, user, include_entry=Fields(message).flag("includeEntry"))
        return {"watcherId": name}

    async def _events(self, _call: Call, message: Json) -> Json:
        asked = self._asked.get(Fields(message).text("watcherId"))
        if asked is None:
            raise RpcError("not_found", "There is no such watcher.")
        await asked.watcher.catch_up()
        if asked.watcher.lost:
            asked.watcher.lost = False
            asked.watcher.take()
            raise RpcError("data_loss", _LOST)
        events = asked.watcher.take()
        return {"events": [_shown(asked.watcher, asked.user, event, include_entry=asked.include_entry) for event in events]}

    async def _remove(self, _call: Call, message: Json) -> Json:
        asked = self._asked.pop(Fields(message).text("watcherId"), None)
        if asked is None:
            raise RpcError("not_found", "There is no such watcher.")
        asked.watcher.close()
        return {}

    async def _open(self, user: User, message: Json) -> Watcher:
        from sandkit.guest.envd.inotify import Watcher  # noqa: PLC0415 (it imports ctypes: 3 ms, for those who watch)

        fields = Fields(message)
        path = path_of(user, message, "path")
        root = directory(user, path)
        if not fields.flag("allowNetworkMounts") and (kind := _mounted(root)).split(".")[0] in _NETWORK:
            raise RpcError("invalid_argument", f"{printable(path)} lies on a network file system ({kind}), whose changes may go untold.")
        watcher = Watcher(self._loop, user, root, recursive=fields.flag("recursive"))
        try:
            await watcher.open()
        except BaseException:
            watcher.close()
            raise
        self._loop.spawn(watcher.run())
        return watcher


def _shown(watcher: Watcher, user: User, event: tuple[str, str], *, include_entry: bool) -> Json:
    path, kind = event
    shown: Json = {"name": printable(path), "type": kind}
    if include_entry and kind not in _GONE:
        try:
            with Acting(user):
                shown["entry"] = entry(os.path.normpath(f"{watcher.root}/{path}"))
        except OSError:
            return shown  # it has gone meanwhile
    return shown


def _mounted(path: str) -> str:
    """Return the type of the file system that `path` lies on, as /proc/self/mountinfo names it."""
    best, found = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123 (pathlib takes 6 ms to import)
            for line in lines:
                left, _, right = line.partition(" - ")
                point = left.split(" ")[4].replace("\\040", " ")
                if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
                    best, found = point, right.split(" ")[0]
    except (OSError, IndexError):
        return ""
    return found
