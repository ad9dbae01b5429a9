"""How a command reaches its server: named by options or variables, else the one that runs on the data directory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from sandkit.wire.gateway import Refusal

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server's address and the key to speak to it with."""

    url: str
    key: str

    @classmethod
    def find(cls, data_dir: Path | None) -> Server:
        """Take `PPIO_API_URL` and `PPIO_API_KEY` where both are set and no data directory is named; else the running server's."""
        url, key = os.environ.get("PPIO_API_URL"), os.environ.get("PPIO_API_KEY")
        if data_dir is None and url and key:
            return cls(url.rstrip("/"), key)
        from sandyard.services.data_dir import API_KEY, DataDir, DataDirError  # noqa: PLC0415

        path = data_dir or Path(os.environ.get("SANDYARD_DATA_DIR") or default_data_dir())
        data = DataDir(path.expanduser().absolute())
        try:
            return cls(data.running().api_url, (data.path / API_KEY).read_text().strip())
        except (DataDirError, OSError) as error:
            fail(str(error))

    def ask(self, method: str, path: str, body: bytes | None = None, *, media: str = "application/json") -> Any:
        """Send a request and return the decoded answer; a refusal ends the program with what it says."""
        from sandkit.http.errors import TransportError  # noqa: PLC0415
        from sandkit.http.messages import Limits, Request  # noqa: PLC0415
        from sandkit.http.sync_sender import SyncSender  # noqa: PLC0415
        from sandkit.wire.gateway import Refusal  # noqa: PLC0415

        headers = {"x-api-key": self.key, "accept": "application/json"} | ({} if body is None else {"content-type": media})
        sender = SyncSender(Limits())
        try:
            reply = sender.send(Request(method, path, headers, body, base_url=self.url), timeout=_SECONDS)
        except TransportError as error:
            fail(str(error))
        finally:
            sender.close()
        document: Any = json.loads(reply.body) if reply.body.strip() else None
        if reply.status >= 400:
            fail(explain(Refusal.from_reply(reply.status, document)))
        return document


def explain(refusal: Refusal) -> str:
    """Return a refusal as people read it: its message, and each further problem on a line of its own."""
    lines = [refusal.message, *(f"  {item['pointer'] or '/'}: {item['message']}" for item in refusal.details.get("problems", ())[1:])]
    return "\n".join(lines)


def default_data_dir() -> Path:
    """Return where a server keeps its data if nobody says otherwise."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "sandyard"


def fail(message: str) -> NoReturn:
    """End the program with a message and exit code 1."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)
