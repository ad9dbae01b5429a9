"""Unpacks a prefab's package (a wheel, or a zip of its directory) on the host without trusting a byte of it.

Nothing of it is installed or run here. What pip, uv and zipfile let through in one way or another is refused with the entry's name:
paths that lead out, links, files that run at the interpreter's start, duplicates, contents that RECORD does not vouch for, bombs.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import stat
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

from sandkit.wire.gateway import PACKAGE_INVALID, Refusal
from sandyard import trees
from sandyard.services.prefabs.manifests import FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 256 * 1024
_MANIFEST_BYTES = 1024 * 1024
_RATIO = 200
_RATIO_FROM = 1024 * 1024
"""Bytes from which on an entry's compression ratio is looked at: small texts may compress well."""
_DIRECTORY_ENTRY = 46
_END = b"PK\x05\x06"
_END_BYTES = 22 + 65_535
_STARTERS = ("sitecustomize.py", "usercustomize.py")
_DEPTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PackBounds:
    """The most that a package may be when unpacked."""

    unpacked_bytes: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What a package held: its manifest as a document, a digest over names and contents, the names of its files."""

    document: Any
    digest: str
    names: frozenset[str]


@dataclass(slots=True)
class _Budget:
    left: int
    digests: dict[str, str] = field(default_factory=dict[str, str])


def unpack(archive: Path, target: Path, bounds: PackBounds) -> Unpacked:
    """Unpack into `target`, which must not exist; nothing is left of a package that is refused. Blocking: use a thread.

    Raises:
        Refusal: PACKAGE_INVALID; the message names the entry.
    """
    try:
        target.mkdir(parents=True)
        with archive.open("rb") as file:
            _look_before(file, bounds)
            return _unpack(file, target, bounds)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, ValueError) as error:
        trees.remove(target)
        _refuse(f"The package is no sound zip archive: {error}")
    except BaseException:
        trees.remove(target)
        raise


def _look_before(file: io.BufferedIOBase | Any, bounds: PackBounds) -> None:
    """Bound what reading the directory costs: zipfile makes an object of each entry before anyone can count them."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END_BYTES))
    tail: bytes = file.read()
    place = tail.rfind(_END)
    if place < 0:
        _refuse("The package is no zip archive")
    directory = int.from_bytes(tail[place + 12 : place + 16], "little")
    if directory > bounds.files * 10 * _DIRECTORY_ENTRY:
        _refuse(f"The package holds more than {bounds.files} entries")
    file.seek(0)


def _unpack(file: Any, target: Path, bounds: PackBounds) -> Unpacked:
    budget = _Budget(bounds.unpacked_bytes)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > bounds.files:
            _refuse(f"The package holds more than {bounds.files} entries")
        _check_names(entries)
        for entry in entries:
            if not entry.is_dir():
                _extract(archive, entry, target, budget)
    _check_record(target, budget.digests)
    whole = hashlib.sha256()
    for name, digest in sorted(budget.digests.items()):
        whole.update(f"{name}\0{digest}\n".encode())
    return Unpacked(document=_document(target), digest=whole.hexdigest(), names=frozenset(budget.digests))


def _check_names(entries: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        path = PurePosixPath(name)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name.isprintable() or not path.parts:
            _refuse(f"The package holds the path {ascii(name)[:200]}, which leads out of it or cannot be shown", name)
        if len(path.parts) > _DEPTH or any(len(part.encode()) > 255 for part in path.parts):
            _refuse(f"The package's path {ascii(name)[:200]} is too long", name)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            _refuse(f"The package holds {ascii(name)[:200]}, which is a link or a device", name)
        if entry.flag_bits & 1:
            _refuse(f"The package's entry {ascii(name)[:200]} is encrypted", name)
        if path.suffix == ".pth" or path.name in _STARTERS:
            _refuse(f"The package holds {ascii(name)[:200]}, which would run at every start of Python", name)
        if path.name == FILE_NAME and len(path.parts) > 1:
            _refuse(f"The package holds a second manifest, {ascii(name)[:200]}", name)
        folded = name.rstrip("/").casefold()
        if folded in seen:
            _refuse(f"The package holds {ascii(name)[:200]} twice", name)
        seen.add(folded)
        if path.name == FILE_NAME and entry.file_size > _MANIFEST_BYTES:
            _refuse(f"{FILE_NAME} is larger than {_MANIFEST_BYTES // 1024} KiB", name)


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, budget: _Budget) -> None:
    if entry.file_size > _RATIO_FROM and entry.file_size > _RATIO * max(1, entry.compress_size):
        _refuse(f"The package's entry {ascii(entry.filename)[:200]} unpacks to more than {_RATIO} times its size", entry.filename)
    path = target / PurePosixPath(entry.filename)
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, path.open("xb") as sink:
            while data := source.read(_CHUNK):
                budget.left -= len(data)
                if budget.left < 0:
                    _refuse("The package is larger than allowed when unpacked", entry.filename)
                digest.update(data)
                sink.write(data)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        _refuse(f"The package holds {ascii(entry.filename)[:200]} twice, as a file and as a directory", entry.filename)
    budget.digests[entry.filename] = digest.hexdigest()


def _check_record(target: Path, digests: dict[str, str]) -> None:
    """Hold a wheel to its own RECORD: every file is named there with its digest."""
    records = [name for name in digests if name.endswith(".dist-info/RECORD") and name.count("/") == 1]
    if not records:
        return
    with (target / records[0]).open(encoding="utf-8", newline="") as file:
        stated = {row[0]: row[1] for row in csv.reader(file) if len(row) >= 2}
    signatures = (records[0], f"{records[0]}.jws", f"{records[0]}.p7s")
    for name, digest in digests.items():
        if name in signatures:
            continue
        expected = "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
        if stated.get(name) != expected:
            _refuse(f"RECORD does not vouch for {ascii(name)[:200]}", name)
    missing = next((name for name in stated if name not in digests and name not in signatures), None)
    if missing is not None:
        _refuse(f"RECORD names {ascii(missing)[:200]}, which the package does not hold", missing)


def _document(target: Path) -> Any:
    path = target / FILE_NAME
    if not path.is_file():
        _refuse(f"The package has no {FILE_NAME} at its top level", FILE_NAME)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        _refuse(f"{FILE_NAME} is not JSON: {str(error)[:300]}", FILE_NAME)


def _refuse(message: str, entry: str | None = None) -> NoReturn:
    raise Refusal(PACKAGE_INVALID, message, **({} if entry is None else {"entry": ascii(entry)[1:-1][:200]}))
