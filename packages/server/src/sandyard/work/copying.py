"""COPY: from an uploaded archive to the one that is unpacked inside the sandbox. Blocking: use a thread."""

from __future__ import annotations

import glob
import os
import posixpath
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from sandyard.work.failures import BuildFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCRIPT = """\
set -e
archive=$1 stage=$2 owner=$3 target=$4
rm -rf "$stage"
mkdir "$stage"
tar -xf "$archive" -C "$stage"
rm -f "$archive"
if [ -n "$owner" ]; then chown -hR "$owner" "$stage"; fi
new= at=$target
while [ ! -e "$at" ]; do new=$at; at=$(dirname "$at"); done
mkdir -p "$target"
if [ -n "$owner" ] && [ -n "$new" ]; then chown -R "$owner" "$new"; fi
for entry in "$stage"/* "$stage"/.[!.]* "$stage"/..?*; do
    if [ -e "$entry" ] || [ -L "$entry" ]; then cp -a "$entry" "$target/"; fi
done
rm -rf "$stage"
"""
"""Lays what the archive holds into the directory `target`. Directories that are new belong to `owner`, too."""


def matches(tree: Path, source: str) -> Sequence[Path]:
    """Return what `source`, a pattern relative to the uploaded tree, means.

    Raises:
        BuildFailed: nothing.
    """
    clean = posixpath.normpath(source)
    if clean == ".":
        return [tree]
    found = [tree / name for name in sorted(glob.glob(clean, root_dir=tree, recursive=True, include_hidden=True))]  # noqa: PTH207 (pathlib's follows links)
    if not found:
        raise BuildFailed(f"nothing that was uploaded is called {source!r}")
    return found


def pack(found: Sequence[Path], destination: str, archive: Path, *, into_directory: bool, mode: int | None) -> str:
    """Write `archive` (tar) of what was found, so that unpacking it in the returned directory is the copy, as a Dockerfile means it.

    The contents of a directory come into `destination`; a file becomes it, or comes into it where it ends with a slash, is a
    directory already (`into_directory`), or several files are copied.
    """
    directory = into_directory or destination.endswith("/") or len(found) > 1 or _is_tree(found[0])
    target = destination if directory else posixpath.dirname(destination)
    with tarfile.open(archive, "w") as tar:
        for path in found:
            if _is_tree(path):
                for inner in _below(path):
                    _add(tar, inner, inner.relative_to(path).as_posix(), mode)
            else:
                _add(tar, path, path.name if directory else posixpath.basename(destination), mode)
    return posixpath.normpath(target or "/")


def _is_tree(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _below(directory: Path) -> Iterator[Path]:
    for top, directories, files in os.walk(directory):
        for name in sorted([*directories, *files]):
            yield Path(top, name)


def _add(tar: tarfile.TarFile, path: Path, name: str, mode: int | None) -> None:
    info = tar.gettarinfo(path, name)
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    if mode is not None and not info.issym():
        info.mode = mode | ((mode & 0o444) >> 2 if info.isdir() else 0)
    if info.isreg():
        with path.open("rb") as file:
            tar.addfile(info, file)
    else:
        tar.addfile(info)
