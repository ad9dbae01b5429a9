"""Packages of agents, good and bad, as bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST = """\
apiVersion: v1
kind: Agent
metadata: {{name: {name}, version: 1.0.0, author: tests@example.com}}
spec: {{entrypoint: agent.py{runtime}}}
"""

ECHO = """\
import json

calls = 0

async def app(scope, receive, send):
    global calls
    if scope["type"] != "http":
        return
    if scope["path"] == "/end":
        raise SystemExit(3)
    calls += 1
    body = json.dumps({"calls": calls, "path": scope["path"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})

if __name__ == "__main__":
    import uvicorn
    uvicorn.run(app, host="127.0.0.1", port=8080, log_level="warning")
"""


def manifest(name: str = "echo", *, timeout: int | None = None) -> str:
    return MANIFEST.format(name=name, runtime="" if timeout is None else f", runtime: {{timeout: {timeout}}}")


def write_agent(directory: Path, name: str = "echo", source: str = ECHO, *, timeout: int | None = None, **files: str) -> Path:
    """Write an agent's directory; `files` by name with `.` spelt `_` (`requirements_txt`)."""
    directory.mkdir(parents=True)
    (directory / "agent.yaml").write_text(manifest(name, timeout=timeout))
    (directory / "agent.py").write_text(source)
    for key, text in files.items():
        (directory / key.replace("_", ".")).write_text(text)
    return directory


def pack(directory: Path) -> bytes:
    """Return a gzip tar of a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(directory.rglob("*")):
            archive.add(path, path.relative_to(directory).as_posix(), recursive=False)
    return buffer.getvalue()


def pack_members(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """Return a gzip tar of members as they are given: bytes are a file's content, a TarInfo stands for itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pack_bomb(size: int, head: tarfile.TarInfo | None = None) -> bytes:
    """Return a small gzip tar whose one member (`head`, else a file) unpacks to `size` zero bytes."""
    head = head or tarfile.TarInfo("zeros")
    head.size = size
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as stream:
        stream.write(head.tobuf())
        block = bytes(16 * 1024 * 1024)
        for _ in range(size // len(block)):
            stream.write(block)
        stream.write(bytes(1024))
    return buffer.getvalue()
