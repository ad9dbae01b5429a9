"""inotify(7) by ctypes: a directory or a whole tree, told as envd's events.

A directory that appears in a watched tree is watched, and what was in it before that is told as if it had been seen to be made.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import struct
import sys
import termios

from sandkit.guest.envd.loop import Bell, Channel
from sandkit.guest.envd.users import Acting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandkit.guest.envd.loop import Loop
    from sandkit.guest.envd.users import User

    Event = tuple[str, str]

QUEUE = 16384  # events that are kept for a client, as many as the kernel keeps for us
_TURN = 64  # directories between two turns of the others
_READ = 64 * 1024
_CATCHING = 100  # turns
_HEAD = struct.Struct("iIII")

_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO = 0x2, 0x4, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_OVERFLOW, _IGNORED, _ISDIR = 0x4000, 0x8000, 0x40000000
_ONLYDIR, _DONT_FOLLOW = 0x1000000, 0x2000000
_MASK = _MODIFY | _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLYDIR
_ROOT_MASK = _MASK | _DELETE_SELF | _MOVE_SELF
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = (
    (_CREATE | _MOVED_TO, "EVENT_TYPE_CREATE"),
    (_MOVED_FROM | _MOVE_SELF, "EVENT_TYPE_RENAME"),
    (_ATTRIB, "EVENT_TYPE_CHMOD"),
    (_MODIFY, "EVENT_TYPE_WRITE"),
    (_DELETE | _DELETE_SELF, "EVENT_TYPE_REMOVE"),
)

_libc = ctypes.CDLL(None, use_errno=True)


class Watcher:
    """Watches `root` as `user` until closed. Events are (path below the root, kind), in order; `bell` tells of new ones.

    `lost` is true once events have been dropped, here or by the kernel.

    Raises:
        OSError: it cannot be watched.
    """

    def __init__(self, loop: Loop, user: User, root: str, *, recursive: bool) -> None:
        self.root = root
        self.lost = False
        self.bell = Bell(loop)
        self._loop = loop
        self._user = user
        self._recursive = recursive
        self._events: list[Event] = []
        self._paths: dict[int, str] = {}  # by watch descriptor, below the root
        self._told: set[str] = set()  # found while looking into new directories; the kernel may tell of them, too
        self._moving: dict[int, str] = {}  # directories that have left a place and may turn up at another, by cookie
        fd = _libc.inotify_init1(_NONBLOCK_CLOEXEC)
        if fd < 0:
            raise _error("inotify")
        self._channel = Channel(loop, fd)
        try:
            self._watch("", _ROOT_MASK)
        except OSError:
            self._channel.close()
            raise

    async def open(self) -> None:
        """Watch what is below, too, if that was asked for; from then on `run` has to run.

        Raises:
            OSError: there are more directories than the machine lets us watch.
        """
        if self._recursive:
            await self._enter("", telling=False)

    async def run(self) -> None:
        """Take events until closed."""
        while not self._channel.closed:
            try:
                data = os.read(self._channel.fd, _READ)
            except BlockingIOError:
                self._settle()
                await self._channel.readable.wait()
                continue
            except OSError:
                return
            await self._take(data)

    async def catch_up(self) -> None:
        """Take what the kernel has queued by now: who changes something and then asks is told of it. Bounded, for changes never end."""
        for _ in range(_CATCHING):
            if self._channel.closed or not int.from_bytes(fcntl.ioctl(self._channel.fd, termios.FIONREAD, bytes(4)), sys.byteorder):
                return
            await self._loop.turn()

    def take(self) -> list[Event]:
        """Return what has happened since the last time."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        self._channel.close()
        self.bell.ring()

    # -- events ------------------------------------------------------------------------------------------------------------------

    async def _take(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, mask, cookie, size = _HEAD.unpack_from(data, at)
            name = os.fsdecode(data[at + _HEAD.size : at + _HEAD.size + size].rstrip(b"\0"))
            at += _HEAD.size + size
            if mask & _OVERFLOW:
                self.lost = True
                self.bell.ring()
            elif mask & _IGNORED:
                self._paths.pop(number, None)
            elif number in self._paths:
                await self._one(_join(self._paths[number], name), mask, cookie)

    async def _one(self, path: str, mask: int, cookie: int) -> None:
        known = path in self._told
        if known and mask & _CREATE:
            self._told.discard(path)
            return
        for bits, kind in _KINDS:
            if mask & bits:
                self._tell(path, kind)
        if mask & _ISDIR and self._recursive and path:
            if mask & _MOVED_FROM:
                self._moving[cookie] = path
            elif mask & (_CREATE | _MOVED_TO):
                await self._appeared(path, cookie)

    async def _appeared(self, path: str, cookie: int) -> None:
        """A directory is there that was not: one that moved here from elsewhere in the tree is watched already."""
        before = self._moving.pop(cookie, None)
        if before is not None:
            self._paths = {number: path + old[len(before) :] if _within(old, before) else old for number, old in self._paths.items()}
            return
        try:
            self._watch(path, _MASK | _DONT_FOLLOW)
            await self._enter(path, telling=True)
        except OSError as error:
            if error.errno == 28:  # ENOSPC: no more watches
                self.lost = True
                self.bell.ring()

    def _settle(self) -> None:
        """All that was queued is taken: what has not turned up anywhere has left the tree."""
        self._told.clear()
        for gone in self._moving.values():
            for number in [number for number, path in self._paths.items() if _within(path, gone)]:
                _libc.inotify_rm_watch(self._channel.fd, number)
                self._paths.pop(number, None)
        self._moving.clear()

    def _tell(self, path: str, kind: str) -> None:
        if len(self._events) >= QUEUE:
            self.lost = True
        else:
            self._events.append((path or ".", kind))
        self.bell.ring()

    # -- watching ----------------------------------------------------------------------------------------------------------------

    async def _enter(self, path: str, *, telling: bool) -> None:
        """Watch the directories below `path`; tell of everything that is there if `telling`."""
        left, count = [path], 0
        while left and not self._channel.closed:
            directory = left.pop()
            for name, facts in self._look(directory):
                below = _join(directory, name)
                if telling:
                    self._tell_found(below, facts)
                if facts is not None and stat.S_ISDIR(facts.st_mode):
                    self._try_watch(below)
                    left.append(below)
            count += 1
            if count % _TURN == 0:
                await self._loop.turn()

    def _look(self, directory: str) -> list[tuple[str, os.stat_result | None]]:
        """Return what is in a directory; nothing where the user may not look, or it has gone."""
        place = _join(self.root, directory)
        found: list[tuple[str, os.stat_result | None]] = []
        try:
            with Acting(self._user), os.scandir(place) as entries:
                found.extend((each.name, each.stat(follow_symlinks=False)) for each in entries)
        except OSError:
            pass
        return found

    def _tell_found(self, path: str, facts: os.stat_result | None) -> None:
        self._told.add(path)
        self._tell(path, "EVENT_TYPE_CREATE")
        if facts is not None and stat.S_ISREG(facts.st_mode) and facts.st_size:
            self._tell(path, "EVENT_TYPE_WRITE")

    def _try_watch(self, path: str) -> None:
        """Watch a directory below; one that went, or is closed to the user, is not.

        Raises:
            OSError: the machine has no more watches for us.
        """
        try:
            self._watch(path, _MASK | _DONT_FOLLOW)
        except OSError as error:
            if error.errno == 28:
                raise

    def _watch(self, path: str, mask: int) -> None:
        place = os.fsencode(_join(self.root, path))
        with Acting(self._user):
            number = _libc.inotify_add_watch(self._channel.fd, place, mask)
        if number < 0:
            raise _error(_join(self.root, path))
        self._paths[number] = path


def _join(directory: str, name: str) -> str:
    if not directory or not name:
        return directory or name
    return f"{directory.rstrip('/')}/{name}"


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def _error(path: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
