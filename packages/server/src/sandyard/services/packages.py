"""Unpacks an uploaded agent, trusting nothing in it.

Only regular files, directories and links that stay inside are taken. Sizes are held against the limit while reading, so a
bomb is stopped where it exceeds it. Links are made last and written files never pass one: stricter than tarfile's "data"
filter, whose link checks several supported Python releases get wrong (CVE-2025-4330, CVE-2025-4517).
"""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import yaml
from pydantic import ValidationError

from sandkit.wire.errors import INVALID_MANIFEST, INVALID_PACKAGE, ApiError
from sandkit.wire.manifest import MANIFEST_NAMES, AgentConfig
from sandyard import trees
from sandyard.services.archives import HEADER_BUDGET, Budgeted, header_type

if TYPE_CHECKING:
    from collections.abc import Mapping

_OVERHEAD = 64 * 1024 * 1024
"""Bytes that an archive may hold beside its files: headers and padding."""
_EXTENSION_WORK = 4_000_000_000
"""See `archives.header_type`."""
_CHUNK = 256 * 1024
_GZIP = b"\x1f\x8b"
_MANIFEST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a package may hold: bytes when unpacked, and entries. `modes`: files keep their permission bits, not only whether they
    can be executed.
    """

    unpacked_bytes: int
    files: int
    modes: bool = False


def unpack(archive: Path, target: Path, bounds: Bounds) -> AgentConfig:
    """Unpack a gzip tar into the new directory `target` and return its manifest. Blocking: call it in a thread.

    Raises:
        ApiError: `invalid_package` or `invalid_manifest`; `target` is gone again.
    """
    extract(archive, target, bounds)
    try:
        return read_manifest(target)
    except BaseException:
        trees.remove(target)
        raise


def extract(archive: Path, target: Path, bounds: Bounds) -> None:
    """Unpack a tar, gzipped or not, into the new directory `target`. Blocking: call it in a thread.

    Raises:
        ApiError: `invalid_package`; `target` is gone again.
    """
    target.mkdir(parents=True, mode=0o755)
    try:
        with archive.open("rb") as file:
            _extract(file, target, bounds)
    except BaseException:
        trees.remove(target)
        raise


def read_manifest(directory: Path) -> AgentConfig:
    """Return the checked manifest of an unpacked package.

    Raises:
        ApiError: `invalid_manifest`, with the field named; the entrypoint must be a file of the package.
    """
    path = next((directory / name for name in MANIFEST_NAMES if _is_plain_file(directory / name)), None)
    if path is None:
        raise ApiError(INVALID_MANIFEST, f"The package has no {MANIFEST_NAMES[0]} at its top level")
    if path.stat().st_size > _MANIFEST_BYTES:
        raise ApiError(INVALID_MANIFEST, f"{path.name} is larger than {_MANIFEST_BYTES // 1024} KiB")
    config = _parse_manifest(path)
    entrypoint = directory / _inside(config.spec.entrypoint)
    if not entrypoint.is_file():
        raise ApiError(
            INVALID_MANIFEST, f"spec.entrypoint: the package has no file {config.spec.entrypoint!r}", details=_field("spec.entrypoint")
        )
    return config


def _parse_manifest(path: Path) -> AgentConfig:
    try:
        return AgentConfig.model_validate(yaml.safe_load(path.read_bytes()))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ApiError(INVALID_MANIFEST, f"{path.name}: {where}: {first['msg']}", details=_field(where)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number of 5,000 digits, a 13th month
        raise ApiError(INVALID_MANIFEST, f"{path.name} is not YAML: {str(error)[:500]}") from None


def _field(name: str) -> Mapping[str, Any]:
    return {"field": name}


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _refuse(message: str) -> ApiError:
    return ApiError(INVALID_PACKAGE, message)


def _refuse_headers(what: str) -> ApiError:
    return _refuse(f"The package's {what}")


def _inside(name: str) -> PurePosixPath:
    """Return a member's path relative to the package's root, or refuse it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise _refuse(f"The package holds the path {name[:200]!r}, which leads out of it")
    return path


def _extract(file: BinaryIO, target: Path, bounds: Bounds) -> None:
    try:
        with _plain(file) as plain:
            reader = Budgeted(plain, bounds.unpacked_bytes + _OVERHEAD, _refuse_headers)
            kind = header_type(_EXTENSION_WORK, _refuse_headers)
            with tarfile.open(fileobj=cast("BinaryIO", reader), mode="r|", tarinfo=kind) as archive:
                _Unpacking(target, bounds, archive, reader).run()
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise _refuse(f"The package is not a complete tar archive: {error}") from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise _refuse("The package holds a name that is too long for a file") from None


def _plain(file: BinaryIO) -> BinaryIO:
    magic = file.read(len(_GZIP))
    file.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if magic == _GZIP else file


@dataclass(slots=True)
class _Unpacking:
    """One run over an archive."""

    target: Path
    bounds: Bounds
    archive: tarfile.TarFile
    reader: Budgeted
    left: int = 0
    links: dict[PurePosixPath, str] = field(default_factory=dict[PurePosixPath, str])

    def run(self) -> None:
        self.left = self.bounds.unpacked_bytes
        count = 0
        while (member := self.archive.next()) is not None:
            self.archive.members = []  # pyright: ignore[reportAttributeAccessIssue] (a stream's members pile up otherwise)
            count += 1
            if count > self.bounds.files:
                raise _refuse(f"The package holds more than {self.bounds.files} files")
            self._take(member)
            self.reader.budget = HEADER_BUDGET
        for path, target in self.links.items():
            self._link(path, target)

    def _take(self, member: tarfile.TarInfo) -> None:
        path = _inside(member.name)
        if member.size < 0:  # an extended header may say so, and every sum would grow by it
            raise _refuse(f"The package holds {member.name[:200]!r} with a size below zero")
        if member.isdir():
            self._directory(path)
        elif member.isfile():
            self._file(path, member)
        elif member.issym():
            self.links[path] = member.linkname
        elif member.islnk():
            self._copy(path, _inside(member.linkname))
        else:
            raise _refuse(f"The package holds {member.name[:200]!r}, which is neither a file, a directory nor a link")

    def _directory(self, path: PurePosixPath) -> None:
        if len(path.parts) > 64:
            raise _refuse("The package's directories are nested more than 64 deep")
        try:
            (self.target / path).mkdir(parents=True, exist_ok=True, mode=0o755)
        except (FileExistsError, NotADirectoryError):
            raise _refuse(f"The package holds {str(path)[:200]!r} twice, as a file and as a directory") from None

    def _file(self, path: PurePosixPath, member: tarfile.TarInfo) -> None:
        self._spend(member.size)
        self.reader.budget = member.size + HEADER_BUDGET
        source = self.archive.extractfile(member)
        assert source is not None
        with self._create(path, member.mode) as target:
            shutil.copyfileobj(source, target, _CHUNK)

    def _copy(self, path: PurePosixPath, source: PurePosixPath) -> None:
        """A hard link: the same bytes once more, so that no two files of a build share what one of them writes."""
        original = self.target / source
        if not _is_plain_file(original):
            raise _refuse(f"The package's hard link {str(path)[:200]!r} leads to nothing")
        status = original.stat()
        self._spend(status.st_size)
        with original.open("rb") as file, self._create(path, status.st_mode) as target:
            shutil.copyfileobj(file, target, _CHUNK)

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _refuse(f"The package is larger than {self.bounds.unpacked_bytes // 1024**2} MiB when unpacked")

    def _create(self, path: PurePosixPath, mode: int) -> BinaryIO:
        self._directory(path.parent)
        wanted = 0o600 | mode & 0o777 if self.bounds.modes else 0o755 if mode & 0o100 else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.target / path, flags, wanted)
        except (FileExistsError, IsADirectoryError):
            raise _refuse(f"The package holds {str(path)[:200]!r} twice") from None
        return os.fdopen(fd, "wb")

    def _link(self, path: PurePosixPath, target: str) -> None:
        """Make a link whose `..` come first and stay inside; by induction no chain of such links leads out."""
        if any(parent in self.links for parent in path.parents):
            raise _refuse(f"The package's link {str(path)[:200]!r} lies below another link")
        climbs = 0
        parts = PurePosixPath(target).parts
        while climbs < len(parts) and parts[climbs] == "..":
            climbs += 1
        if target.startswith("/") or ".." in parts[climbs:] or climbs > len(path.parent.parts) or "\0" in target:
            raise _refuse(f"The package's link {str(path)[:200]!r} leads out of it")
        self._directory(path.parent)
        try:
            (self.target / path).symlink_to(target)
        except FileExistsError:
            raise _refuse(f"The package holds {str(path)[:200]!r} twice") from None
