"""Opens a database and brings its schema up to date."""

from __future__ import annotations

import errno
import os
import sqlite3
from importlib.resources import files

from sandyard.domain.errors import StoreUnavailable
from sandyard.store.faults import translate

MEMORY = ":memory:"
BUSY_SECONDS = 5.0


def connect(path: str) -> sqlite3.Connection:
    """Return a connection that any one thread at a time may use; transactions are begun by hand.

    Raises:
        StoreUnavailable: it cannot be opened.
    """
    try:
        if path != MEMORY:
            _make_private(path)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except OSError as error:
        raise StoreUnavailable(f"The database {path} cannot be opened for writing: {error.strerror}") from error
    except sqlite3.Error as error:
        raise translate(error, path) from error
    try:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, path) from error
    return connection


def _make_private(path: str) -> None:
    """Make the file, which the driver would make readable for all.

    An existing one must not be opened here: closing a descriptor drops the locks that this process's other connections hold on
    the file (POSIX), and a second process would then delete the write-ahead log under them.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if os.path.isdir(path):  # noqa: PTH112 (a str from here on)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Apply each schema file that this database has not seen, all in one transaction; `user_version` is the last one's number.

    Raises:
        StoreUnavailable: a newer program wrote it, or it cannot be written.
    """
    scripts = _scripts()
    newest = max(scripts)
    try:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > newest:
            connection.execute("ROLLBACK")
            raise StoreUnavailable(
                f"The database {path} was written by a newer sandyard (schema {version}, this program knows {newest}). "
                "Start that version, or choose another data directory."
            )
        for number in sorted(number for number in scripts if number > version):
            for statement in _statements(scripts[number]):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {newest}")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise translate(error, path) from error


def _scripts() -> dict[int, str]:
    schema = files("sandyard.store").joinpath("schema")
    return {int(entry.name[:4]): entry.read_text() for entry in schema.iterdir() if entry.name.endswith(".sql")}


def _statements(script: str) -> list[str]:
    """Split a script: `executescript` would commit the transaction that it is called in."""
    statements: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
