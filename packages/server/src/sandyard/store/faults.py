"""What the driver raises, in the domain's words."""

from __future__ import annotations

import sqlite3

from sandyard.domain.errors import RowConflict, StoreError, StoreUnavailable

_UNWRITABLE = "cannot be written; check the owner and the mode of the file and of its directory"
_DAMAGED = "is damaged; put back a copy, or start with another data directory"

_ADVICE = {
    sqlite3.SQLITE_FULL: "could not be written because the disk is full; free some space and try again, nothing was half written",
    sqlite3.SQLITE_READONLY: _UNWRITABLE,
    sqlite3.SQLITE_CANTOPEN: _UNWRITABLE,
    sqlite3.SQLITE_PERM: _UNWRITABLE,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_BUSY: "is held by another program; end that program and try again",
    sqlite3.SQLITE_IOERR: "could not be read or written; check the disk and its free space",
}


def translate(error: sqlite3.Error, path: str) -> StoreError:
    """Return the domain's error for one of the driver's."""
    if isinstance(error, sqlite3.IntegrityError):
        return RowConflict(str(error))
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    advice = _ADVICE.get(code)
    if advice is None:
        return StoreUnavailable(f"The database {path} failed: {error}")
    return StoreUnavailable(f"The database {path} {advice} ({error})")
