"""Packing a directory as it is uploaded: a gzip tar of regular files, without what never belongs to an agent."""

from __future__ import annotations

import asyncio
import fnmatch
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from ppio_sandbox.cli.output import UsageError
from sandkit.wire.manifest import MANIFEST_NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

NEVER = (".git", "__pycache__", ".venv", "node_modules", ".DS_Store", "*.pyc")
IGNORE_FILES = (".agentignore", ".gitignore")
READ_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class Package:
    """A packed directory: an open temporary file at its start, its size in bytes, and how many files it holds."""

    file: BinaryIO
    size: int
    count: int


def pack(directory: Path, manifest: Path) -> Package:
    """Pack a directory, with `manifest` as its `agent.yaml`.

    Raises:
        UsageError: a link leads out of the directory, or something is neither file, directory nor link.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 (handed on, and closed with the upload)
    count = 0
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6, dereference=True) as tar:
        for path in files_of(directory):
            if path.name not in MANIFEST_NAMES or path.parent != directory:
                tar.add(path, arcname=str(path.relative_to(directory)), recursive=False, filter=_plain)
                count += 1
        tar.add(manifest, arcname=MANIFEST_NAMES[0], recursive=False, filter=_plain)
    size = file.tell()
    file.seek(0)
    return Package(file, size, count + 1)


def files_of(directory: Path) -> Iterator[Path]:
    """Yield the files that belong to the agent, in a fixed order; a link inside the directory counts as the file that it names."""
    root = directory.resolve()
    rules = ignore_rules(directory)
    for folder, folders, names in os.walk(directory):
        here = Path(folder)
        inside = PurePosixPath(here.relative_to(directory).as_posix())
        folders[:] = sorted(name for name in folders if not _ignored(inside / name, rules, is_folder=True))
        for name in folders:
            if (here / name).is_symlink():
                raise UsageError(f"{here / name} is a link to a directory; copy what it names, or list it in .agentignore")
        for name in sorted(names):
            if not _ignored(inside / name, rules, is_folder=False):
                yield _checked(here / name, root)


def ignore_rules(directory: Path) -> Sequence[str]:
    """Return the patterns of `.agentignore`, or else of `.gitignore`, one a line; `!` and nested files are not understood."""
    for name in IGNORE_FILES:
        path = directory / name
        if path.is_file():
            lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
            return [line for line in lines if line and not line.startswith(("#", "!"))]
    return ()


async def parts_of(package: Package) -> AsyncGenerator[bytes]:
    """Yield the packed bytes, and close the file."""
    with package.file as file:
        while part := await asyncio.to_thread(file.read, READ_BYTES):
            yield part


def _ignored(path: PurePosixPath, rules: Sequence[str], *, is_folder: bool) -> bool:
    if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in NEVER):
        return True
    return any(_matches(path, rule, is_folder=is_folder) for rule in rules)


def _matches(path: PurePosixPath, rule: str, *, is_folder: bool) -> bool:
    """Whether a pattern names the path: with a slash inside it counts from the top, without it any name at any depth."""
    if rule.endswith("/") and not is_folder:
        return False
    pattern = rule.rstrip("/")
    if "/" in pattern:
        return fnmatch.fnmatchcase(str(path), pattern.removeprefix("/"))
    return fnmatch.fnmatchcase(path.name, pattern)


def _checked(path: Path, root: Path) -> Path:
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise UsageError(f"{path} is a link out of the directory, to {path.resolve()}; copy what it names, or list it in .agentignore")
    if not path.is_file():
        raise UsageError(f"{path} is neither a file nor a directory")
    return path


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who packed it and when it was changed by whom: the same files make the same package."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
