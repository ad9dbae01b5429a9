"""Secrets at rest: each value under a key of its own (AES-256-GCM), and that key under a master key that lies beside the database.

What a value is bound to (whose it is, what it is called, …) is authenticated with it: a row that is copied to another place does
not open there. Master keys are lines `<id> <64 hex digits>` of a file or of a command's output; the last one seals, all of them open.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandyard.services.secrets_dir import create_once, put

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

MASTER_FILE = "master_keys"
"""In the secrets directory."""
_FORM = "v1"
_NONCE = 12
_KEY = 32
_COMMAND_SECONDS = 30.0


class EnvelopeBroken(Exception):  # noqa: N818 (the word for what was found)
    """A sealed value does not open: it was changed, belongs elsewhere, or its master key is not there. Says no part of any value."""


class NoMasterKey(Exception):  # noqa: N818
    """The master keys cannot be read; the message says why and what to do."""


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """Master keys by their ids; `newest` seals."""

    keys: Mapping[str, bytes]
    newest: str

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Read lines of `<id> <64 hex digits>`; empty ones and those that begin with # are skipped.

        Raises:
            NoMasterKey: a line is none of these, or there is no key.
        """
        keys: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, digits = line.strip().partition(" ")
            try:
                key = bytes.fromhex(digits)
            except ValueError:
                key = b""
            if len(key) != _KEY or not name.isalnum() or name in keys:
                raise NoMasterKey(f"Line {number} of the master keys is not `<id> <64 hex digits>` with an id of its own")
            keys[name] = key
        if not keys:
            raise NoMasterKey("There is no master key")
        return cls(keys, list(keys)[-1])


class KeyFile:
    """Master keys in a file (mode 0600), which is made with one key where there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self) -> KeyRing:
        """Return what the file holds now.

        Raises:
            NoMasterKey: it cannot be read.
        """
        return await asyncio.to_thread(self.read)

    def read(self) -> KeyRing:
        try:
            return KeyRing.parse(create_once(self._path, lambda: _new_line().encode()).decode("ascii", "replace"))
        except OSError as error:
            raise NoMasterKey(f"The master keys in {self._path} cannot be read: {error.strerror}") from error

    def rotate(self) -> KeyRing:
        """Add a key, which seals from now on; return the new ring."""
        self.read()
        put(self._path, self._path.read_bytes().rstrip(b"\n") + b"\n" + _new_line().encode())
        return self.read()


class KeyCommand:
    """Master keys that a command prints (a vault's client, say): what it gave is kept in memory until a key is missing."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = tuple(arguments)

    async def __call__(self) -> KeyRing:
        """Run the command and read what it prints.

        Raises:
            NoMasterKey: it cannot be run, fails, takes more than 30 seconds, or prints no keys.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
            )
        except OSError as error:
            raise NoMasterKey(f"The command for the master keys cannot be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                out, _ = await process.communicate()
        except BaseException as error:
            process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise NoMasterKey(f"The command for the master keys took more than {_COMMAND_SECONDS:.0f} seconds") from None
            raise
        if process.returncode:
            raise NoMasterKey(f"The command for the master keys ended with exit code {process.returncode}")
        return KeyRing.parse(out.decode("ascii", "replace"))


class Envelopes:
    """Seals and opens values. `source` (a `KeyFile`, a `KeyCommand`) is asked at first, and again when a key is not known yet."""

    def __init__(self, source: Callable[[], Awaitable[KeyRing]]) -> None:
        self._source = source
        self._ring: KeyRing | None = None

    async def refresh(self) -> KeyRing:
        """Read the master keys now.

        Raises:
            NoMasterKey: they cannot be read.
        """
        self._ring = await self._source()
        return self._ring

    async def seal(self, value: bytes, *bound: str) -> str:
        """Return the value sealed, as text for a row; it opens only with the same `bound`.

        Raises:
            NoMasterKey: the master keys cannot be read.
        """
        ring = self._ring or await self.refresh()
        data_key = secrets.token_bytes(_KEY)
        return _joined(ring.newest, _wrapped(ring, ring.newest, data_key, bound), _encrypt(data_key, value, _bound("value", bound)))

    async def open(self, sealed: str, *bound: str) -> bytes:
        """Return the value.

        Raises:
            EnvelopeBroken: it does not open.
            NoMasterKey: the master keys cannot be read.
        """
        name, wrapped, content = _split(sealed)
        data_key = await self._unwrap(name, wrapped, bound)
        return _decrypt(data_key, content, _bound("value", bound))

    async def renew(self, sealed: str, *bound: str) -> str | None:
        """Return the same value with its key under the newest master key, or None where it is so already. Nothing is decrypted.

        Raises:
            EnvelopeBroken, NoMasterKey: as `open`.
        """
        name, wrapped, content = _split(sealed)
        ring = await self.refresh()
        if name == ring.newest:
            return None
        data_key = await self._unwrap(name, wrapped, bound)
        return _joined(ring.newest, _wrapped(ring, ring.newest, data_key, bound), content)

    async def _unwrap(self, name: str, wrapped: bytes, bound: Sequence[str]) -> bytes:
        ring = self._ring
        if ring is None or name not in ring.keys:
            ring = await self.refresh()
        if name not in ring.keys:
            raise EnvelopeBroken(f"The master key {name!r} is not there")
        return _decrypt(ring.keys[name], wrapped, _bound(f"key {name}", bound))


def _wrapped(ring: KeyRing, name: str, data_key: bytes, bound: Sequence[str]) -> bytes:
    return _encrypt(ring.keys[name], data_key, _bound(f"key {name}", bound))


def _bound(what: str, bound: Sequence[str]) -> bytes:
    return json.dumps([_FORM, what, *bound]).encode()


def _encrypt(key: bytes, value: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, value, bound)


def _decrypt(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
    except (InvalidTag, ValueError):
        raise EnvelopeBroken("A sealed value does not open: it was changed, or belongs elsewhere") from None


def _joined(name: str, wrapped: bytes, content: bytes) -> str:
    return ".".join((_FORM, name, urlsafe_b64encode(wrapped).decode(), urlsafe_b64encode(content).decode()))


def _split(sealed: str) -> tuple[str, bytes, bytes]:
    try:
        _, name, *parts = sealed.split(".")
        wrapped, content = map(urlsafe_b64decode, parts)
    except ValueError:
        raise EnvelopeBroken("This is no sealed value") from None
    if _joined(name, wrapped, content) != sealed:  # one spelling only, and of this form
        raise EnvelopeBroken("This is no sealed value")
    return name, wrapped, content


def _new_line() -> str:
    return f"{secrets.token_hex(4)} {secrets.token_hex(_KEY)}\n"
