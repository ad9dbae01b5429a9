"""A registry for tests: speaks the distribution protocol to whoever pulls, asks for a login if told so, and may lie."""

from __future__ import annotations

import _ctypes
import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Self

from aiohttp import web

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


class Registry:
    """Serves what `push` was given, on a loopback port. `login` is (user, password) or None; `asked` are the paths that were asked for.

    With `basic` it takes the login itself, as Amazon's does, and not a token that the login is exchanged for.
    """

    def __init__(self, *, login: tuple[str, str] | None = None, basic: bool = False) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.asked: list[str] = []
        self._login = login
        self._basic = basic
        app = web.Application()
        app.router.add_get("/token", self._token)
        app.router.add_get("/v2/{path:.*}", self._serve)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.host = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    def push(self, name: str, layers: Iterable[bytes], *, architecture: str = "amd64", env: Mapping[str, str] | None = None) -> str:
        """Enter an image as `name:latest`, behind an index that offers another platform, too; return its manifest's digest."""
        config = {"architecture": architecture, "os": "linux", "config": {"Env": [f"{key}={value}" for key, value in (env or {}).items()]}}
        descriptors = [self._blob(layer, f"{LAYER}+gzip" if layer.startswith(b"\x1f\x8b") else f"{LAYER}+zstd") for layer in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": descriptors,
        }
        ours = self._manifest(manifest, MANIFEST)
        other = self._manifest({**manifest, "layers": []}, MANIFEST)
        entries = [
            {"mediaType": MANIFEST, "digest": other, "size": 1, "platform": {"os": "linux", "architecture": "s390x"}},
            {"mediaType": MANIFEST, "digest": ours, "size": 1, "platform": {"os": "linux", "architecture": architecture}},
        ]
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        self.manifests[f"{name}/manifests/latest"] = (INDEX, body)
        for digest in (ours, other):
            self.manifests[f"{name}/manifests/{digest}"] = self.manifests[digest]
        return ours

    def _blob(self, data: bytes, kind: str) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def _manifest(self, document: Mapping[str, object], kind: str) -> str:
        body = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.manifests[digest] = (kind, body)
        return digest

    async def _serve(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.asked.append(path)
        given = request.headers.get("Authorization")
        if self._login is not None and given != (basic(*self._login) if self._basic else "Bearer pulling"):
            challenge = f'{"Basic" if self._basic else "Bearer"} realm="http://{self.host}/token",service="test"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        if path in self.manifests:
            kind, body = self.manifests[path]
            return web.Response(body=body, content_type=kind)
        blob = self.blobs.get(path.rsplit("/", 1)[-1])
        return web.Response(status=404) if blob is None else web.Response(body=blob)

    async def _token(self, request: web.Request) -> web.Response:
        assert self._login is not None
        if request.headers.get("Authorization") != basic(*self._login):
            return web.Response(status=401)
        return web.json_response({"token": "pulling"})


Member = tuple[tarfile.TarInfo, bytes] | tuple[str, bytes]


def basic(user: str, password: str) -> str:
    """Return the header's value by which a login is shown."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def layer(*members: Member) -> bytes:
    """Return a layer of members; a name stands for a file of mode 0755."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for head, data in members:
            info = head if isinstance(head, tarfile.TarInfo) else tarfile.TarInfo(head)
            if not isinstance(head, tarfile.TarInfo):
                info.mode = 0o755
            if info.isreg():
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return buffer.getvalue()


def by_zstd(packed: bytes) -> bytes:
    """Return a layer compressed by zstd as `zstd:chunked` does it: two frames, and after them one that only describes them."""
    plain = gzip.decompress(packed)
    half = len(plain) // 2
    return zstd.compress(plain[:half]) + zstd.compress(plain[half:]) + b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"toc!"


def special(name: str, kind: bytes, target: str = "", mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info, b""


def host_layer() -> bytes:
    """Return a layer with a shell, the core utilities, tar and the libraries that these and the guest's interpreter need."""
    return layer(*host_members())


def host_members() -> list[Member]:
    """Return what that layer holds."""
    programs = ["sh", "cat", "ls", "id", "mkdir", "rm", "cp", "mv", "chown", "dirname", "tar", "stat", "env", "test", "touch", "ln"]
    paths = {which(name) or "" for name in programs} | {os.path.realpath(sys.executable), _ctypes.__file__}
    needed = {line.split()[0] if line.strip().startswith("/") else line.split()[2] for line in libraries(*paths) if line[0].isspace()}
    files = {path for path in paths if path.startswith("/usr/")} | needed
    members = [
        special("bin", tarfile.SYMTYPE, "usr/bin"),
        special("lib", tarfile.SYMTYPE, "usr/lib"),
        special("lib64", tarfile.SYMTYPE, "usr/lib64"),
    ]
    members = [special(name, tarfile.DIRTYPE) for name in ("usr", "usr/bin", "usr/lib", "usr/lib64", "tmp", "etc")] + members
    root = (tarfile.TarInfo("etc/passwd"), b"root:x:0:0::/root:/bin/sh\n")
    return [*members, root, *((_in_image(path), Path(path).read_bytes()) for path in sorted(files))]


def libraries(*paths: str) -> list[str]:
    """Return the lines that `ldd` says of the libraries that programs need."""
    out = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=True, timeout=30).stdout
    return [line for line in out.splitlines() if "/" in line]


def _in_image(path: str) -> str:
    """Return where a file of the host comes in the image, whose /bin, /lib and /lib64 are links."""
    return path.removeprefix("/") if path.startswith("/usr/") else f"usr{path}"
