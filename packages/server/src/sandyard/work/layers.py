"""Layers of an image onto a directory, trusting nothing in them (OCI image-spec, layer.md). Blocking: use a thread.

The directory is ours alone while this works, so a path that was looked at stays what it was. Links are followed only as the image
means them, inside its own root. Devices are left out, and who owns a file and setuid bits with them: all files are the server's.
"""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import sys
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from sandyard import trees
from sandyard.services.archives import HEADER_BUDGET, Budgeted, header_type
from sandyard.work.failures import BuildFailed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Sequence

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_LINKS = 40
_DEEPEST = 128
_CHUNK = 256 * 1024
_MAGIC_GZIP, _MAGIC_ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_MAGIC_SKIPPED = b"\x2a\x4d\x18"
"""Of frames that say something about the others (RFC 8878 §3.1.2), after a byte from 0x50 to 0x5f."""
_WINDOW_LOG = 27
"""128 MiB, the most that a decompressor may need: what `zstd` itself grants unless it is told otherwise."""
_ENTRY_BYTES, _PADDING = 4096, 64 * 1024 * 1024
"""What a layer may hold beside its files, for each entry and in all."""
_EXTENSION_WORK = 100_000_000_000
"""See `archives.header_type`; images have hundreds of thousands of files, with some hundred bytes for each."""


@dataclass(slots=True)
class Root:
    """An image's root directory as it grows. `room` bytes and `entries` are what it may still take."""

    path: Path
    room: int
    entries: int
    _of_layer: set[Path] = field(default_factory=set[Path])

    def apply(self, layer: Path) -> None:
        """Lay a layer (a tar, by itself, gzipped, or compressed by zstd) over what is there.

        Raises:
            BuildFailed: it is damaged, hostile, or too large.
        """
        self._of_layer = set()
        try:
            with layer.open("rb") as file, _plain(file) as plain:
                self._read(plain)
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, zstd.ZstdError, EOFError) as error:
            raise BuildFailed(f"A layer of the image is damaged: {error}") from None
        except (OSError, ValueError) as error:
            raise BuildFailed(f"A layer of the image cannot be unpacked: {error}") from error

    def _read(self, plain: BinaryIO) -> None:
        reader = Budgeted(plain, self.room + self.entries * _ENTRY_BYTES + _PADDING, _refuse_headers)
        kind = header_type(_EXTENSION_WORK, _refuse_headers)
        with tarfile.open(fileobj=cast("BinaryIO", reader), mode="r|", tarinfo=kind) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue] (a stream's members pile up otherwise)
                reader.budget = max(member.size, 0) + HEADER_BUDGET
                self._take(archive, member)

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self.entries -= 1
        if self.entries < 0 or member.size < 0:
            raise BuildFailed("The image holds more files than this server takes")
        parts = _parts(member.name)
        if not parts:
            return
        parent = self._directory(parts[:-1])
        name = parts[-1]
        if name == _OPAQUE:
            self._empty(parent)
        elif name.startswith(_WHITEOUT):
            _remove(parent / _plain_name(name.removeprefix(_WHITEOUT)))
        else:
            self._put(archive, member, parent / name)

    def _put(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        self._of_layer.add(path)
        if member.isdir():
            if not _is_directory(path):
                _remove(path)
                path.mkdir()
            path.chmod(member.mode & 0o1777 | 0o700)
        elif member.isfile():
            _remove(path)
            self._file(archive, member, path)
        elif member.issym():
            _remove(path)
            path.symlink_to(member.linkname)
        elif member.islnk():
            self._link(member, path)

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        self.room -= member.size
        if self.room < 0:
            raise BuildFailed("The image is larger than this server takes when it is unpacked")
        source = archive.extractfile(member)
        assert source is not None
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, member.mode & 0o777 | 0o600)
        with os.fdopen(fd, "wb") as target:
            os.fchmod(fd, member.mode & 0o777 | 0o400)
            shutil.copyfileobj(source, target, _CHUNK)

    def _link(self, member: tarfile.TarInfo, path: Path) -> None:
        parts = _parts(member.linkname)
        if not parts:
            raise BuildFailed(f"A layer of the image links {member.name[:200]!r} to its root")
        source = self._directory(parts[:-1]) / parts[-1]
        if not os.path.lexists(source) or _is_directory(source):
            raise BuildFailed(f"A layer of the image links {member.name[:200]!r} to nothing")
        if source != path:
            _remove(path)
            os.link(source, path, follow_symlinks=False)

    def _empty(self, directory: Path) -> None:
        """Remove what earlier layers put into a directory."""
        for path in list(directory.iterdir()):
            if path not in self._of_layer and not any(path in other.parents for other in self._of_layer):
                _remove(path)

    def _directory(self, parts: Sequence[str]) -> Path:
        """Return the real directory of that path, made where it is missing; links lead no further than the root."""
        here: list[str] = []
        pending = list(reversed(parts))
        links = _LINKS
        while pending:
            part = pending.pop()
            if part == "..":
                del here[-1:]
                continue
            path = self.path.joinpath(*here, part)
            if path.is_symlink():
                links -= 1
                if links < 0:
                    raise BuildFailed("The image's links lead in a circle")
                target = PurePosixPath(path.readlink())
                here = [] if target.is_absolute() else here
                pending += [piece for piece in reversed(target.parts) if piece != "/"]
                continue
            if not _is_directory(path):
                _remove(path)
                path.mkdir(mode=0o755)
            here.append(part)
            if len(here) + len(pending) > _DEEPEST:
                raise BuildFailed(f"The image's directories are nested more than {_DEEPEST} deep")
        return self.path.joinpath(*here)


def _plain(file: BinaryIO) -> BinaryIO:
    magic = file.read(4)
    file.seek(0)
    if magic == _MAGIC_ZSTD or (magic[1:] == _MAGIC_SKIPPED and magic[0] >> 4 == 5):
        return cast("BinaryIO", zstd.ZstdFile(file, options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}))
    return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if magic.startswith(_MAGIC_GZIP) else file


def _refuse_headers(what: str) -> BuildFailed:
    return BuildFailed(f"A layer of the image is too large: its {what}")


def _parts(name: str) -> list[str]:
    path = PurePosixPath(name)
    parts = [part for part in path.parts if part not in ("/", ".")]
    if ".." in parts or "\0" in name:
        raise BuildFailed(f"A layer of the image holds the path {name[:200]!r}, which leads out of it")
    return parts


def _plain_name(name: str) -> str:
    if name in ("", ".", ".."):
        raise BuildFailed("A layer of the image removes what is no file")
    return name


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove(path: Path) -> None:
    if _is_directory(path):
        trees.remove(path)
    else:
        path.unlink(missing_ok=True)
