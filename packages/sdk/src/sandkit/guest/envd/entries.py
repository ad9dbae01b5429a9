"""What is told about a file or directory: `EntryInfo` of envd's filesystem service. Call it with the client's identity (`Acting`)."""

from __future__ import annotations

import os
import stat
import time

from sandkit.guest.envd.rpc import printable
from sandkit.guest.envd.users import group_name, owner_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

METADATA_PREFIX = "user.e2b."  # extended attributes that clients see as metadata
_METADATA_LIMIT = 4096  # bytes of one file's metadata, names with prefix included: what every file system can hold
_LETTERS = (
    (stat.S_IFDIR, "d"),
    (stat.S_IFLNK, "L"),
    (stat.S_IFBLK, "D"),
    (stat.S_IFCHR, "Dc"),
    (stat.S_IFIFO, "p"),
    (stat.S_IFSOCK, "S"),
)
_SPECIAL = ((stat.S_ISUID, "u"), (stat.S_ISGID, "g"), (stat.S_ISVTX, "t"))
_TYPES = {stat.S_IFREG: "FILE_TYPE_FILE", stat.S_IFDIR: "FILE_TYPE_DIRECTORY"}


def entry(path: str, shown: str | None = None) -> dict[str, Any]:
    """Return the entry at `path`, under the path `shown` where that is another.

    A link has its target's type (clients of one family know no other) and says that it is one; one that leads nowhere has type
    FILE_TYPE_SYMLINK.

    Raises:
        OSError: there is none, or it may not be looked at.
    """
    facts = os.lstat(path)
    shown = shown or path
    found: dict[str, Any] = {
        "name": printable(os.path.basename(shown) or "/"),  # noqa: PTH119 (pathlib takes 6 ms to import)
        "type": _TYPES.get(stat.S_IFMT(facts.st_mode), "FILE_TYPE_UNSPECIFIED"),
        "path": printable(shown),
        "size": str(facts.st_size),
        "mode": facts.st_mode & 0o777,
        "permissions": _permissions(facts.st_mode),
        "owner": owner_name(facts.st_uid),
        "group": group_name(facts.st_gid),
        "modifiedTime": _timestamp(facts.st_mtime_ns),
    }
    if stat.S_ISLNK(facts.st_mode):
        found |= _link(path)
    else:
        metadata = read_metadata(path)
        if metadata:
            found["metadata"] = metadata
    return found


def _link(path: str) -> dict[str, Any]:
    try:
        target = os.path.realpath(path, strict=True)
        kind = _TYPES.get(stat.S_IFMT(os.stat(target).st_mode), "FILE_TYPE_UNSPECIFIED")  # noqa: PTH116 (as above)
    except OSError:
        target, kind = os.readlink(path), "FILE_TYPE_SYMLINK"  # noqa: PTH115 (as above)
    return {"type": kind, "isSymlink": True, "symlinkTarget": printable(target)}


def _permissions(mode: int) -> str:
    """Return the mode as Go writes it, which is what clients compare: `-rw-r--r--`, `drwxr-xr-x`, `dtrwxrwxrwx`, `Lrwxrwxrwx`."""
    kind = next((letters for number, letters in _LETTERS if stat.S_IFMT(mode) == number), "")
    special = "".join(letter for bit, letter in _SPECIAL if mode & bit)
    bits = "".join(letter if mode & (0o400 >> at) else "-" for at, letter in enumerate("rwxrwxrwx"))
    return (kind + special or "-") + bits


def _timestamp(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"


def read_metadata(path: str | int) -> dict[str, str]:
    """Return what clients stored beside the file; nothing where the file system has no such place."""
    try:
        names = [name for name in os.listxattr(path) if name.startswith(METADATA_PREFIX)]
        return {name[len(METADATA_PREFIX) :]: os.getxattr(path, name).decode("utf-8", "replace") for name in names}
    except OSError:
        return {}


def write_metadata(fd: int, metadata: Mapping[str, str]) -> None:
    """Make `metadata` all that is stored beside the open file; a file system without a place for it keeps none.

    Raises:
        OSError: it has no room left.
    """
    for name in read_metadata(fd).keys() - metadata.keys():
        os.removexattr(fd, METADATA_PREFIX + name)
    try:
        for name, value in metadata.items():
            os.setxattr(fd, METADATA_PREFIX + name, value.encode())
    except OSError as error:
        if error.errno != 95:  # EOPNOTSUPP
            raise


def bad_metadata(metadata: Mapping[str, str]) -> str:
    """Return what is wrong with metadata that a client sends; an empty string if nothing is."""
    for name, value in metadata.items():
        if not name or len(METADATA_PREFIX) + len(name) > 255:
            return f"The metadata key {name[:40]!r} has no length that can be stored."
        if not all(" " <= letter <= "~" for letter in value):
            return f"The metadata value of {name!r} must be printable ASCII."
    total = sum(len(METADATA_PREFIX) + len(name) + len(value) for name, value in metadata.items())
    return f"The metadata takes {total} bytes, of {_METADATA_LIMIT}." if total > _METADATA_LIMIT else ""
