"""Secrets that are made on the first start: whole or absent, readable by the server's user alone."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def create_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the content of `path`; where there is none, write what `make` gives (mode 0600, on the disk when this returns).

    Two processes that start at once agree: the file appears whole under its name, and the second one reads the first one's.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write(draft, make())
    try:
        os.link(draft, path)
    except FileExistsError:
        return path.read_bytes()
    finally:
        draft.unlink()
    _sync_directory(path.parent)
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    """Replace `path` by a whole new file (mode 0600)."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write(draft, content)
    draft.replace(path)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
