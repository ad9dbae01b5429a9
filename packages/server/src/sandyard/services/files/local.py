"""Files of calls as blobs under keys that the server makes; no rows yet."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from sandkit.wire.gateway import NOT_FOUND, PERMISSION_DENIED, VALIDATION_ERROR, Refusal
from sandyard.services.prefabs.neighbours import InputFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sandyard.domain.callers import Caller
    from sandyard.ports import Blobs
    from sandyard.services.prefabs.neighbours import CallRef

BUCKET = "sandyard"
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+)")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class BlobFiles:
    """`neighbours.CallFiles` on the blob store: `s3://sandyard/agent-outputs/{user}/{agent}/{random}-{name}`."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def check(self, caller: Caller, urls: Sequence[str]) -> Sequence[InputFile]:
        return [await self._look(caller, url) for url in urls]

    async def read(self, caller: Caller, file: InputFile) -> AsyncIterator[bytes]:
        async for chunk in self._blobs.get(_key(caller, file.url)):
            yield chunk

    async def keep(self, caller: Caller, ref: CallRef, name: str, chunks: AsyncIterator[bytes]) -> str:
        del ref
        safe = _UNSAFE.sub("_", name)[-100:].lstrip(".") or "file"
        key = f"agent-outputs/{caller.user}/{caller.agent or 'direct'}/{secrets.token_hex(8)}-{safe}"
        await self._blobs.put(f"files/{key}", chunks)
        return f"s3://{BUCKET}/{key}"

    async def discard(self, caller: Caller, urls: Sequence[str]) -> None:
        for url in urls:
            await self._blobs.delete(_key(caller, url))

    async def _look(self, caller: Caller, url: str) -> InputFile:
        key = _key(caller, url)
        if key not in await self._blobs.keys(key.rpartition("/")[0]):
            raise Refusal(NOT_FOUND, f"There is no file {url}", s3_url=url)
        return InputFile(url=url, name=key.rpartition("/")[2].partition("-")[2], size=0)


def _key(caller: Caller, url: str) -> str:
    match = _URL.fullmatch(url)
    if match is None:
        raise Refusal(VALIDATION_ERROR, f"{url[:200]!r} is no s3:// URL of a file")
    bucket, key = match.groups()
    if bucket != BUCKET or key.split("/")[1] != caller.user:
        raise Refusal(PERMISSION_DENIED, f"The file {url} is not yours")
    return f"files/{key}"
