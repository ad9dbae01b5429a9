"""The files of callers: rows say whose they are, blobs hold their bytes under keys that nobody chooses."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
import structlog

from sandkit.wire.gateway import (
    CONFLICT,
    MISSING_AGENT_CONTEXT,
    NOT_FOUND,
    PERMISSION_DENIED,
    VALIDATION_ERROR,
    Refusal,
)
from sandyard.domain.errors import BlobMissing, StoreError
from sandyard.domain.files import SESSION, Address, File, FileKind, FileState, clean_name, key_part, new_key
from sandyard.services.files.arriving import Arrivals, by_address
from sandyard.services.files.signing import Grant
from sandyard.services.files.uploading import BELOW, KEPT_SECONDS, UPLOAD_SECONDS, Upload, too_large
from sandyard.services.prefabs.neighbours import InputFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sandyard.config import FileSettings
    from sandyard.domain.callers import Caller
    from sandyard.ports import Clock
    from sandyard.services.files.arriving import Place
    from sandyard.services.files.signing import Signer
    from sandyard.services.prefabs.neighbours import Audit, CallRef

LONGEST_GRANT = 604_800
DEFAULT_TTL = 86_400
LONGEST_TTL = 30 * 86_400
MOST_LISTED = 1000
_SWEPT = 500
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+)")
_MEDIA = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}(?:; ?[A-Za-z0-9_-]{1,40}=[\x21\x23-\x7e]{1,100}){0,4}")
_log = structlog.get_logger("sandyard.files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of a caller's files, and the token that goes on after them, if there are more."""

    files: Sequence[File]
    next_token: str | None


class Files:
    """`neighbours.CallFiles`, and everything that callers do with files themselves."""

    def __init__(self, place: Place, signer: Signer, audit: Audit, clock: Clock, settings: FileSettings) -> None:
        self._rows = place.rows
        self._blobs = place.blobs
        self._arrivals = Arrivals(place, audit, clock, settings)
        self._audit = audit
        self._signer = signer
        self._clock = clock
        self._settings = settings

    def url(self, file: File) -> str:
        """Return the file's s3:// URL."""
        return f"s3://{self._settings.bucket}/{file.key}"

    # --- for calls

    async def check(self, caller: Caller, urls: Sequence[str]) -> Sequence[InputFile]:
        """As `neighbours.CallFiles.check`."""
        files = [await self.find(caller, url) for url in urls]
        return [InputFile(url=url, name=file.name, size=file.size) for url, file in zip(urls, files, strict=True)]

    async def read(self, caller: Caller, file: InputFile) -> AsyncIterator[bytes]:
        """As `neighbours.CallFiles.read`."""
        found = await self.find(caller, file.url)
        async for chunk in self.content(found):
            yield chunk

    async def keep(self, caller: Caller, ref: CallRef, name: str, chunks: AsyncIterator[bytes]) -> str:
        """As `neighbours.CallFiles.keep`."""
        del ref
        return self.url(await self._store(self._new(caller, FileKind.OUTPUT, name), chunks))

    async def discard(self, caller: Caller, urls: Sequence[str]) -> None:
        """As `neighbours.CallFiles.discard`."""
        keys = [file.key for file in [await self.find(caller, url) for url in urls]]
        await self._delete(keys)

    # --- for callers

    async def find(self, caller: Caller, url: str) -> File:
        """Return the caller's file at an s3:// URL.

        Raises:
            Refusal: VALIDATION_ERROR (no URL of a file), PERMISSION_DENIED (another's, a foreign bucket), NOT_FOUND.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise Refusal(VALIDATION_ERROR, f"{url[:200]!r} is no s3:// URL of a file", pointer="/s3_url")
        bucket, key = match.groups()
        if bucket != self._settings.bucket:
            raise Refusal(PERMISSION_DENIED, f"The bucket {bucket!r} is not this platform's", s3_url=url[:500])
        file = await self._rows.get(key)
        if file is not None:
            file = await self._arrivals.look(file)
        if file is None and key.split("/")[1] != key_part(caller.user):
            raise Refusal(PERMISSION_DENIED, "This file is not yours", s3_url=url[:500])
        if file is None or not self._shown(file):
            raise Refusal(NOT_FOUND, "There is no such file (any more)", s3_url=url[:500])
        if (file.owner, file.user) != (caller.tenant, caller.user) or (caller.call is not None and caller.call != file.call):
            raise Refusal(PERMISSION_DENIED, "This file is not yours", s3_url=url[:500])
        return file

    async def upload(self, caller: Caller, name: str, media: str | None, chunks: AsyncIterator[bytes]) -> File:
        """Store an agent's output for good."""
        _agent(caller)
        return await self._noted(caller, await self._store(self._new(caller, FileKind.OUTPUT, name, media), chunks))

    async def upload_temp(
        self, caller: Caller, name: str, media: str | None, chunks: AsyncIterator[bytes], *, ttl: int, session: str | None
    ) -> File:
        """Store an agent's file for `ttl` seconds.

        Raises:
            Refusal: VALIDATION_ERROR for a time or a session that is none.
        """
        _agent(caller)
        if not 0 < ttl <= LONGEST_TTL:
            raise _invalid("ttl", f"must be 1 to {LONGEST_TTL} seconds")
        file = self._new(caller, FileKind.WORKSPACE, name, media, checked_session(session))
        return await self._noted(caller, await self._store(file, chunks, ttl=ttl))

    async def offer_upload(self, caller: Caller, name: str, media: str | None, *, size: int | None, past: bool) -> tuple[File, Address]:
        """Make place for an input file; return it, and the signed address that takes its bytes, once, within 15 minutes.

        Who says how large it is (`size`, bytes) and may go `past` this server is sent to the bucket itself, where there is one.

        Raises:
            Refusal: VALIDATION_ERROR (no media type), PAYLOAD_TOO_LARGE, QUOTA_EXCEEDED.
        """
        file = self._new(caller, FileKind.INPUT, name, media)
        if size is not None and size > self._settings.largest:
            raise too_large(self._settings.largest)
        address = await self._arrivals.expect(file, size) if past and size else None
        if address is not None:
            return file, address
        await self._rows.add(file)
        expires = int(self._clock.now()) + UPLOAD_SECONDS
        grant = Grant(method="PUT", key=file.key, expires=expires, media=media or "", limit=self._settings.largest)
        return file, Address(url=self._signer.path(grant))

    async def take_upload(self, grant: Grant, media: str | None, announced: int | None, chunks: AsyncIterator[bytes]) -> File:
        """Store the bytes that come by a signed PUT.

        Raises:
            Refusal: PERMISSION_DENIED (another type than signed), CONFLICT (it is there already, or on its way), PAYLOAD_TOO_LARGE,
                QUOTA_EXCEEDED.
        """
        if grant.media and media != grant.media:
            raise Refusal(PERMISSION_DENIED, f"This URL is signed for Content-Type {grant.media}")
        if announced is not None and announced > min(grant.limit, self._settings.largest):
            raise too_large(grant.limit)
        now = self._clock.now()
        file = await self._rows.begin(grant.key, now, now + KEPT_SECONDS)
        if file is None:
            raise Refusal(CONFLICT, "This file is there already, or on its way: a URL takes one upload")
        return await self._noted(by_address(file), await self._write(replace(file, media=file.media or media), chunks, expires_at=None))

    async def offer_download(self, caller: Caller, url: str, seconds: int, *, past: bool) -> str:
        """Return the signed address of a file for so many seconds: a path of this API, or a URL `past` it, in the bucket."""
        if not 0 < seconds <= LONGEST_GRANT:
            raise _invalid("expires_in", f"must be 1 to {LONGEST_GRANT} seconds")
        file = await self.find(caller, url)
        direct = self._arrivals.to_get(file, seconds) if past else None
        return direct or self._signer.path(Grant(method="GET", key=file.key, expires=int(self._clock.now()) + seconds))

    async def granted(self, grant: Grant) -> File:
        """Return the file of a signed GET.

        Raises:
            Refusal: NOT_FOUND.
        """
        file = await self._rows.get(grant.key)
        if file is None or not self._shown(file):
            raise Refusal(NOT_FOUND, "There is no such file (any more)")
        return file

    async def content(self, file: File, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield a file's bytes, from `start` up to but without `end`.

        Raises:
            Refusal: NOT_FOUND; it was deleted meanwhile.
        """
        try:
            async for chunk in self._blobs.get(BELOW + file.key, start, end):
                yield chunk
        except BlobMissing:
            raise Refusal(NOT_FOUND, "There is no such file (any more)") from None

    async def list(self, caller: Caller, kind: FileKind, *, session: str | None, limit: int, token: str | None) -> Page:
        """Return a page of the agent's files of that kind."""
        agent, session = _agent(caller), checked_session(session)
        if not 0 < limit <= MOST_LISTED:
            raise _invalid("limit", f"must be 1 to {MOST_LISTED}")
        page = (caller.tenant, caller.user, agent, kind.value, session or "")
        after = "" if token is None else self._signer.read_mark(token, *page)
        now = self._clock.now()
        found = await self._rows.list(caller.tenant, caller.user, kind, agent=agent, session=session, after=after, limit=limit + 1, now=now)
        files = found[:limit]
        return Page(files=files, next_token=self._signer.mark(files[-1].key, *page) if len(found) > limit else None)

    async def cleanup(self, caller: Caller, session: str) -> int:
        """Delete the agent's temporary files of exactly that session; return how many."""
        agent, checked = _agent(caller), checked_session(session)
        keys = await self._rows.hide_session(caller.tenant, caller.user, agent, checked or "")
        await self._erase(keys)
        await self._audit.note(caller, "files.cleanup", session, f"{len(keys)} deleted")
        return len(keys)

    async def stored(self, tenant: str) -> int:
        """Return how many bytes the tenant's files have."""
        return await self._rows.stored(tenant)

    # --- keeping order

    async def recover(self) -> int:
        """Give up the uploads that a dead server left half way; return how many."""
        return await self._rows.give_up(None)

    async def run(self) -> None:
        """Delete what is over, until cancelled."""
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                _log.warning("files were not swept", error=str(error))
            await asyncio.sleep(self._settings.sweep)

    async def sweep(self) -> int:
        """Delete what is over, and what a dead server has hidden and not deleted; return how many."""
        total = 0
        await self._arrivals.sweep()
        while keys := await self._rows.hide_ended(self._clock.now(), _SWEPT):
            await self._erase(keys)
            total += len(keys)
        return total

    async def _noted(self, caller: Caller, file: File) -> File:
        await self._audit.note(caller, "files.upload", file.key, f"{file.size} bytes")
        return file

    def _new(self, caller: Caller, kind: FileKind, name: str, media: str | None = None, session: str | None = None) -> File:
        shown = clean_name(name)
        if media is not None and not _MEDIA.fullmatch(media):
            raise _invalid("content_type", "is no media type")
        now = self._clock.now()
        return File(
            key=new_key(kind, caller.user, caller.agent, session, shown),
            owner=caller.tenant,
            user=caller.user,
            agent=caller.agent,
            session=session,
            call=caller.call,
            kind=kind,
            name=shown,
            media=media,
            created_at=now,
            expires_at=now + UPLOAD_SECONDS,
        )

    def _shown(self, file: File) -> bool:
        return file.state is FileState.READY and (file.expires_at is None or file.expires_at > self._clock.now())

    async def _store(self, file: File, chunks: AsyncIterator[bytes], *, ttl: int | None = None) -> File:
        await self._rows.add(replace(file, state=FileState.WRITING, expires_at=self._clock.now() + KEPT_SECONDS))
        try:
            return await self._write(file, chunks, expires_at=None if ttl is None else self._clock.now() + ttl)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._delete([file.key])
            raise

    async def _write(self, file: File, chunks: AsyncIterator[bytes], *, expires_at: float | None) -> File:
        """Store the bytes, then show the file: before that nobody sees any of it."""
        settings = self._settings
        upload = Upload(file, chunks, self._rows, self._clock, largest=settings.largest, stored=settings.stored)
        try:
            size = await self._blobs.put(BELOW + file.key, upload.chunks())
            return await self._show(file, size, expires_at)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._blobs.delete(BELOW + file.key)
                await self._rows.give_up(file.key)
            raise

    async def _show(self, file: File, size: int, expires_at: float | None) -> File:
        now = self._clock.now()
        if not await self._rows.finish(file.key, size, expires_at, now):
            raise Refusal(CONFLICT, "The file was deleted while it was uploaded")
        return replace(file, size=size, state=FileState.READY, created_at=now, expires_at=expires_at)

    async def _delete(self, keys: Sequence[str]) -> None:
        await self._rows.hide(keys)
        await self._erase(keys)

    async def _erase(self, keys: Sequence[str]) -> None:
        """Delete the bytes of hidden files, then their rows: if that is interrupted, the sweeper goes on."""
        for key in keys:
            await self._blobs.delete(BELOW + key)
        await self._rows.remove(keys)


def checked_session(session: str | None) -> str | None:
    """Return a session's id.

    Raises:
        Refusal: VALIDATION_ERROR; it is none.
    """
    if session is not None and not SESSION.fullmatch(session):
        raise _invalid("session_id", "must be 1 to 128 letters, digits, hyphens and underscores")
    return session


def _agent(caller: Caller) -> str:
    if caller.agent is None:
        message = "This needs the context of an agent: a token that an agent was given. Use generate_upload_url for inputs"
        raise Refusal(MISSING_AGENT_CONTEXT, message)
    return caller.agent


def _invalid(name: str, message: str) -> Refusal:
    return Refusal(VALIDATION_ERROR, f"{name}: {message}", pointer=f"/{name}")
