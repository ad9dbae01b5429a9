"""Input files whose bytes go to the bucket itself, past this server: announced, reserved, and shown when they are there.

Nobody has to say that an upload is done. Whoever asks for the file finds out, and so does the sweeper before it would give the file up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sandyard.domain.callers import Caller
from sandyard.domain.files import FileState
from sandyard.services.files.uploading import BELOW, KEPT_SECONDS, UPLOAD_SECONDS, no_room

if TYPE_CHECKING:
    from sandyard.config import FileSettings
    from sandyard.domain.files import Address, File
    from sandyard.ports import Clock
    from sandyard.ports_accounting import FileRows
    from sandyard.ports_blobs import BlobAddresses, Blobs
    from sandyard.services.prefabs.neighbours import Audit

_SWEPT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where files are: rows that say whose they are, their bytes, and addresses of these (None: clients cannot reach them there)."""

    rows: FileRows
    blobs: Blobs
    addresses: BlobAddresses | None


class Arrivals:
    """Knows which files are expected: PENDING rows with a size."""

    def __init__(self, place: Place, audit: Audit, clock: Clock, settings: FileSettings) -> None:
        self._audit = audit
        self._rows = place.rows
        self._blobs = place.blobs
        self._addresses = place.addresses
        self._clock = clock
        self._settings = settings

    async def expect(self, file: File, size: int) -> Address | None:
        """Reserve the announced size for a new file and return where its bytes may be put, once; None where they must come to us.

        Raises:
            Refusal: QUOTA_EXCEEDED.
        """
        if self._addresses is None or not size:
            return None
        address = await self._addresses.to_put(BELOW + file.key, UPLOAD_SECONDS, media=file.media, size=size)
        if address is None:
            return None
        until = self._clock.now() + UPLOAD_SECONDS + KEPT_SECONDS  # what began in time may take as long as one that comes to us
        done, used = await self._rows.add_within(replace(file, size=size, expires_at=until), self._settings.stored)
        if not done:
            raise no_room(self._settings.stored, used)
        return address

    def to_get(self, file: File, seconds: int) -> str | None:
        """Return an address of a lasting file in the bucket; None for one that may be over before the address is, and where clients
        cannot reach the bucket: that we answer ourselves.
        """
        if self._addresses is None or file.expires_at is not None:
            return None
        return self._addresses.to_get(BELOW + file.key, seconds, media=file.media or "application/octet-stream", name=file.name)

    async def look(self, file: File) -> File:
        """Return the file as it stands now: READY if it was expected and its bytes are there, all that were announced."""
        if file.state is not FileState.PENDING or not file.size:
            return file
        found = await self._blobs.size(BELOW + file.key)
        if found is None:
            return file
        if found != file.size:  # a server that checks no signature on lengths; nobody shall see it
            await self._rows.hide([file.key])
            return replace(file, state=FileState.DELETING)
        now = self._clock.now()
        if await self._rows.arrive(file.key, now):
            await self._audit.note(by_address(file), "files.upload", file.key, f"{file.size} bytes")
            return replace(file, state=FileState.READY, created_at=now, expires_at=None)
        return await self._rows.get(file.key) or file

    async def sweep(self) -> None:
        """Show the files that came and that nobody has asked for, give up those that did not come in time."""
        while overdue := await self._rows.overdue(self._clock.now(), _SWEPT):
            late = [file.key for file in overdue if (await self.look(file)).state is FileState.PENDING]
            await self._rows.hide(late)


def by_address(file: File) -> Caller:
    """Return who put a file's bytes by an address that was given to its owner."""
    return Caller(tenant=file.owner, user=file.user, kind="signed", credential="signed URL")
