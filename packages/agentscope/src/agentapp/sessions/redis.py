"""State in Redis or Valkey, by redis-py (the extra `redis`): a hash per session, changed by scripts that run whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from redis import asyncio as redis
from redis.exceptions import RedisError

from agentapp.errors import SessionConflict, StoreError
from agentapp.sessions.ports import Key, Stored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

CONNECT_SECONDS = 10.0
CALL_SECONDS = 30.0

_SAVE = """
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if ARGV[1] ~= '' and tonumber(ARGV[1]) ~= version then return -1 end
redis.call('HSET', KEYS[1], 'version', version + 1, unpack(ARGV, 3))
if ARGV[2] == '' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end
return version + 1
"""
_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_MODULE = b"m:"


class RedisStore:
    """A `SessionStore` at `url` (`redis://`, `rediss://`, `valkey://`, `unix://`). Expiry is the server's own."""

    def __init__(self, url: str) -> None:
        told = re.sub(r"^valkey(s?)://", r"redis\1://", url)
        self._client: Any = redis.from_url(told, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CALL_SECONDS)  # pyright: ignore[reportUnknownMemberType]
        self._save: Any = self._client.register_script(_SAVE)
        self._lease: Any = self._client.register_script(_LEASE)
        self._release: Any = self._client.register_script(_RELEASE)

    async def open(self) -> None:
        """Connect."""
        await _asked(self._client.ping())

    async def close(self) -> None:
        """Disconnect."""
        await self._client.aclose()

    async def load(self, key: Key, now: float) -> Stored | None:
        """Return what is kept."""
        del now  # the server forgets by its own clock
        found = cast("dict[bytes, bytes]", await _asked(self._client.hgetall(_place("state", key))))
        if not found:
            return None
        modules = {field.removeprefix(_MODULE).decode(): body for field, body in found.items() if field.startswith(_MODULE)}
        return Stored(int(found[b"version"]), modules)

    async def save(self, key: Key, modules: Mapping[str, bytes], *, expected: int | None, expires_at: float | None, now: float) -> int:
        """Put modules in, by one script."""
        del now
        until = "" if expires_at is None else str(int(expires_at * 1000))
        fields = [part for module, body in modules.items() for part in (_MODULE + module.encode(), body)]
        arguments = ["" if expected is None else expected, until, *fields]
        version = int(cast("int", await _asked(self._save(keys=[_place("state", key)], args=arguments))))
        if version < 0:
            raise SessionConflict(f"the session {key.session!r} was saved by somebody else since this request has read it")
        return version

    async def delete(self, key: Key) -> None:
        """Forget the session's state."""
        await _asked(self._client.delete(_place("state", key)))

    async def lease(self, key: Key, owner: str, until: float, now: float) -> bool:
        """Let only `owner` work on the session."""
        milliseconds = max(1, int((until - now) * 1000))
        return await _asked(self._lease(keys=[_place("lease", key)], args=[owner, milliseconds])) == 1

    async def release(self, key: Key, owner: str) -> None:
        """End the lease."""
        await _asked(self._release(keys=[_place("lease", key)], args=[owner]))


def _place(kind: str, key: Key) -> str:
    """Return the key's name; lengths keep parts apart that contain the separator."""
    return f"agentapp:{kind}:" + ":".join(f"{len(part)}:{part}" for part in key)


async def _asked(answer: Awaitable[object]) -> object:
    try:
        return await answer
    except (RedisError, OSError) as error:
        raise StoreError(f"Redis failed: {error}") from error
