"""Files of callers as rows, and what of them is a name."""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class FileKind(StrEnum):
    """Where a file belongs; the first part of its key (seed 004)."""

    INPUT = "agent-inputs"
    OUTPUT = "agent-outputs"
    WORKSPACE = "agent-workspace"


class FileState(StrEnum):
    """The one state word of a file: only READY ones can be seen. A PENDING one with a size is expected in the bucket itself."""

    PENDING = "pending"
    WRITING = "writing"
    READY = "ready"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A row. `key` is made by the server, `name` is what the file is called, which is only shown; `call` is the call that
    made it, if one did.

    `size` is what counts against the owner's quota: while it is written, what is reserved. Times are Unix seconds.
    """

    key: str
    owner: str
    user: str
    agent: str | None = None
    session: str | None = None
    call: str | None = None
    kind: FileKind
    name: str
    media: str | None = None
    size: int = 0
    state: FileState = FileState.PENDING
    created_at: float
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where bytes may be put without a credential, and the headers that must go with them. A path is one of this server's API."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


SESSION = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PART = re.compile(r"(?!u-)[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_BYTES = 200


def new_key(kind: FileKind, user: str, agent: str | None, session: str | None, name: str) -> str:
    """Return a key that nobody can guess: `{kind}/{user}/{agent}[/{session}]/{random}/{name}`.

    Of the name only letters, digits and `._-` of ASCII stay, so that people recognise the file; what it is called is `File.name`.
    """
    parts = [kind.value, key_part(user), key_part(agent or "direct")]
    if kind is FileKind.WORKSPACE:
        parts.append(session or "none")
    return "/".join([*parts, secrets.token_hex(16), _UNSAFE.sub("_", name)[-100:].lstrip(".") or "file"])


def clean_name(name: str) -> str:
    """Return what may be shown and written as a file's name: the last part of a path, without what controls or turns text around.

    It is never empty, never begins with a dot, and has at most 200 bytes of UTF-8.
    """
    base = re.split(r"[/\\]", name.encode("utf-8", "replace").decode())[-1]
    kept = "".join("_" if character in '<>:"|?*' else character for character in base if unicodedata.category(character)[0] != "C")
    kept = kept.strip().lstrip(".").strip()
    stem, dot, suffix = kept.rpartition(".")
    if dot and len(suffix) <= 16:
        kept = _cut(stem, _NAME_BYTES - len(suffix.encode()) - 1) + dot + suffix
    return _cut(kept, _NAME_BYTES) or "file"


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")


def key_part(text: str) -> str:
    """Return a user's or agent's name as a part of a key; what is no plain word becomes a digest."""
    return text if _PART.fullmatch(text) else "u-" + sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
