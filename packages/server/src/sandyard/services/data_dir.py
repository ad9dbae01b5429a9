"""The data directory: made private, held by one server at a time, with a note of where that server listens."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

DATABASE = "sandyard.db"
API_KEY = "secrets/api_key"
_LOCK = "server.lock"
_INFO = "server.json"


class DataDirError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """Where the server of a data directory listens."""

    pid: int
    api_url: str
    sandbox_url: str
    domain: str = ""
    """What stands behind `<port>-<sandbox id>.`, with its port."""
    authority: str | None = None
    """The certificate that clients of the TLS listener have to trust, if it is one of our own making."""
    bundle: str | None = None
    """The same beside what this machine trusts already."""


class DataDir:
    """One data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> DataDir:
        """Make the directory (0700), or take one that is ours.

        Raises:
            DataDirError: it belongs to somebody else, or holds something that is no data directory.
        """
        path = path.expanduser().absolute()
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = path.stat()
            if status.st_uid != os.geteuid():
                raise DataDirError(f"{path} belongs to another user (uid {status.st_uid}); choose another --data-dir")
            strange = not (path / _LOCK).exists() and any(path.iterdir())
            if strange:
                raise DataDirError(f"{path} is not empty and no data directory; choose another --data-dir")
            if stat.S_IMODE(status.st_mode) & 0o077:
                path.chmod(0o700)
        except OSError as error:
            raise DataDirError(f"{path} cannot be used as the data directory: {error.strerror}") from None
        return cls(path)

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold the directory.

        Raises:
            DataDirError: another server holds it.
        """
        fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataDirError(f"Another server runs on {self.path}{self._whose()}; stop it, or choose another --data-dir") from None
            yield
        finally:
            os.close(fd)

    @contextmanager
    def announced(self, info: ServerInfo) -> Generator[None]:
        """Leave a note of where the server listens, as long as it does."""
        note = self.path / _INFO
        draft = self.path / f".{_INFO}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(info), file)
        draft.replace(note)
        try:
            yield
        finally:
            note.unlink(missing_ok=True)

    def running(self) -> ServerInfo:
        """Return where the living server listens; a note whose server does not hold the lock is a dead one's.

        Raises:
            DataDirError: no server runs, or it does not listen yet.
        """
        if not self._is_held():
            raise DataDirError(f"No server runs on {self.path}; start one with `sandyard serve --data-dir {self.path}`")
        try:
            return ServerInfo(**json.loads((self.path / _INFO).read_text()))
        except (OSError, ValueError, TypeError):
            raise DataDirError(f"The server on {self.path} does not listen yet; try again in a moment") from None

    def _is_held(self) -> bool:
        try:
            fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(fd)

    def _whose(self) -> str:
        try:
            info = json.loads((self.path / _INFO).read_text())
            return f" (process {info['pid']}, {info['api_url']})"
        except (OSError, ValueError, KeyError):
            return ""
