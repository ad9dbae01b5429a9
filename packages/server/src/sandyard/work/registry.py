"""Pulls from registries: the OCI distribution protocol, as much of it as an image needs.

On aiohttp, the HTTP library that the SDK brings. The libraries for this are made for artifacts (oras) or speak to a Docker daemon;
neither chooses a platform nor bounds what a hostile registry sends. A caller names the registry, so its address must be a public one
and its protocol https, unless the operator has named it.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import platform
import re
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver

from sandyard.domain.logins import AwsKeys, Password
from sandyard.work import ecr, replies
from sandyard.work.failures import BuildFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping
    from pathlib import Path

    from aiohttp.abc import ResolveResult

    from sandyard.config import Settings
    from sandyard.domain.logins import Login

DOCKER_HUB = "registry-1.docker.io"
_NAME = re.compile(r"(?P<path>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_REFERENCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|sha256:[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_REDIRECTS = 5
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=15, sock_read=60)


@dataclass(frozen=True, slots=True)
class ImageName:
    """Where an image is: `reference` is a tag or a digest."""

    registry: str
    repository: str
    reference: str


def read_name(text: str) -> ImageName:
    """Return what a name as Docker's users write it means: `python:3`, `ghcr.io/owner/image@sha256:...`.

    Raises:
        BuildFailed: it is none.
    """
    rest, _, digest = text.partition("@")
    first, slash, below = rest.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, below) if is_host else (DOCKER_HUB, rest)
    path, _, tag = path.partition(":")
    reference = digest or tag or "latest"
    if host in ("docker.io", "index.docker.io", DOCKER_HUB):
        host, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
    if not _NAME.fullmatch(path) or not _HOST.fullmatch(host) or not _REFERENCE.fullmatch(reference):
        raise BuildFailed(f"{text[:200]!r} is not the name of an image")
    return ImageName(host, path, reference)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an image of this machine's platform consists of; digests are checked when their bytes come."""

    digest: str
    config: str
    layers: tuple[tuple[str, str, int], ...]
    """Media type, digest, size in bytes."""


class Registry:
    """One registry for one image. What the operator named (`Settings.registries`, `ecr_endpoint`) may have any address, and no https."""

    def __init__(self, session: aiohttp.ClientSession, name: ImageName, login: Login | None, settings: Settings) -> None:
        self._session = session
        self._name = name
        self._login = login
        self._ecr = settings.ecr_endpoint
        self._trusted = _trusted(settings)
        self._authorization: str | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, name: ImageName, login: Login | None, settings: Settings) -> AsyncGenerator[Registry]:
        """Open one for as long as it is used."""
        hosts = {urlsplit(f"//{entry}").hostname or "" for entry in _trusted(settings)}
        connector = aiohttp.TCPConnector(resolver=_PublicOnly(hosts))
        async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, auto_decompress=False) as session:
            yield cls(session, name, login, settings)

    async def manifest(self) -> Manifest:
        """Return the manifest for this machine's platform.

        Raises:
            BuildFailed: there is none, or the registry does not answer as one.
        """
        document, digest = await self._manifest(self._name.reference)
        if "manifests" in document:
            document, digest = await self._manifest(_of_this_machine(document))
        try:
            layers = tuple((str(layer["mediaType"]), _digest(layer["digest"]), int(layer["size"])) for layer in document["layers"])
            return Manifest(digest, _digest(document["config"]["digest"]), layers)
        except (KeyError, TypeError, ValueError) as error:
            raise BuildFailed(f"The registry's manifest of {self._name.repository} is no image's") from error

    async def document(self, digest: str) -> dict[str, Any]:
        """Return a small JSON blob, the image's configuration.

        Raises:
            BuildFailed: as `manifest`.
        """
        async with self._get(f"blobs/{digest}") as reply:
            data = await replies.document(reply)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise BuildFailed(f"The registry sent other bytes than {digest}")
        return _object(data)

    async def download(self, digest: str, path: Path, limit: int) -> int:
        """Write a blob to a file and return its size; at most `limit` bytes.

        Raises:
            BuildFailed: it is larger, or other bytes came than its digest says.
        """
        seen, size = hashlib.sha256(), 0
        async with self._get(f"blobs/{digest}") as reply:
            with path.open("wb") as file:
                async for chunk in reply.content.iter_chunked(replies.CHUNK):
                    seen.update(chunk)
                    size += len(chunk)
                    if size > limit:
                        raise BuildFailed("The image is larger than this server takes")
                    file.write(chunk)
        if f"sha256:{seen.hexdigest()}" != digest:
            raise BuildFailed(f"The registry sent other bytes than {digest}")
        return size

    async def _manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        accept = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS))}
        async with self._get(f"manifests/{reference}", accept) as reply:
            data = await replies.document(reply)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if reference.startswith("sha256:") and reference != digest:
            raise BuildFailed(f"The registry sent another manifest than {reference}")
        return _object(data), digest

    @asynccontextmanager
    async def _get(self, what: str, headers: Mapping[str, str] | None = None) -> AsyncGenerator[aiohttp.ClientResponse]:
        scheme = "http" if self._name.registry in self._trusted else "https"
        url = f"{scheme}://{self._name.registry}/v2/{self._name.repository}/{what}"
        reply = await self._send(url, headers or {})
        try:
            if reply.status == 401 and self._authorization is None:
                challenge = reply.headers.get("WWW-Authenticate", "")
                reply.release()
                self._authorization = await self._authorize(challenge)
                reply = await self._send(url, headers or {})
            if reply.status != 200:
                raise BuildFailed(_refusal(reply.status, self._name))
            yield reply
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BuildFailed(f"The registry {self._name.registry} broke off: {error or 'it was silent for too long'}") from error
        finally:
            reply.close()

    async def _send(self, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """GET, following redirects by hand: each place is checked, and only the registry itself gets the authorization."""
        home = urlsplit(url).netloc
        try:
            for _ in range(_REDIRECTS):
                self._check(url)
                mine = {"Authorization": self._authorization} if self._authorization and urlsplit(url).netloc == home else {}
                reply = await self._session.get(url, headers={**headers, **mine}, allow_redirects=False)
                if reply.status not in (301, 302, 303, 307, 308):
                    return reply
                url = urljoin(url, reply.headers.get("Location", ""))
                reply.close()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise BuildFailed(f"The registry {urlsplit(url).netloc} cannot be reached: {_cause(error)}") from error
        raise BuildFailed(f"The registry {home} redirects without end")

    def _check(self, url: str) -> None:
        """Refuse what is no https, and addresses that are not public, unless the operator named the place."""
        parts = urlsplit(url)
        if parts.netloc in self._trusted and parts.scheme in ("http", "https"):
            return
        if parts.scheme != "https":
            raise BuildFailed(f"{parts.netloc} is not spoken to without https; its operator can allow it with --registry {parts.netloc}")
        try:
            address = ipaddress.ip_address(parts.hostname or "")
        except ValueError:
            return  # a name: looked at when it is resolved
        if not address.is_global:
            raise BuildFailed(f"{parts.netloc} is not a public address; its operator can allow it with --registry {parts.netloc}")

    async def _authorize(self, challenge: str) -> str:
        """Answer a registry's challenge: a token, with the login if there is one, or the login itself."""
        scheme, _, rest = challenge.partition(" ")
        basic = await self._basic()
        if scheme.lower() == "basic" and basic is not None:
            return basic
        fields = dict(_CHALLENGE.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            raise BuildFailed(_refusal(401, self._name))
        query = {"service": fields.get("service", ""), "scope": f"repository:{self._name.repository}:pull"}
        self._check(fields["realm"])
        reply = await self._session.get(
            f"{fields['realm']}?{urlencode(query)}", headers={"Authorization": basic} if basic else {}, allow_redirects=False
        )
        async with reply:
            if reply.status != 200:
                raise BuildFailed(_refusal(reply.status, self._name))
            document = _object(await replies.document(reply))
        return f"Bearer {document.get('token') or document.get('access_token') or ''}"

    async def _basic(self) -> str | None:
        match self._login:
            case None:
                return None
            case AwsKeys() as keys:
                endpoint = self._ecr or ecr.address(keys.region)
                self._check(endpoint)
                login = await ecr.password(self._session, keys, endpoint)
            case Password() as login:
                pass
        return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


class _PublicOnly(AbstractResolver):
    """Resolves names to public addresses only, but for the hosts that the operator named: a name must not lead inside."""

    def __init__(self, trusted: Collection[str]) -> None:
        self._trusted = trusted
        self._resolver = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [item for item in found if host in self._trusted or ipaddress.ip_address(item["host"]).is_global]
        if not public:
            raise OSError(f"{host} has no public address; its operator can allow it with --registry")
        return public

    async def close(self) -> None:
        await self._resolver.close()


def _cause(error: Exception) -> str:
    """Return what a connection failed of, which aiohttp wraps."""
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return str(inner) or "it did not answer in time"


def _of_this_machine(index: Mapping[str, Any]) -> str:
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    offered: list[str] = []
    for entry in cast("list[dict[str, Any]]", index["manifests"]):
        place = cast("dict[str, Any]", entry.get("platform") or {})
        if place.get("os") == "linux" and place.get("architecture") == architecture:
            return _digest(entry.get("digest"))
        offered.append(f"{place.get('os')}/{place.get('architecture')}")
    raise BuildFailed(f"The image is not there for linux/{architecture}, only for {', '.join(offered) or 'nothing'}")


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError("no SHA-256 digest")
    return value


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BuildFailed("The registry's answer is not JSON")
    return cast("dict[str, Any]", value)


def _trusted(settings: Settings) -> tuple[str, ...]:
    """Return the `host:port` that the operator named."""
    return (*settings.registries, *([urlsplit(settings.ecr_endpoint).netloc] if settings.ecr_endpoint else []))


def _refusal(status: int, name: ImageName) -> str:
    what = f"{name.registry}/{name.repository}:{name.reference}"
    match status:
        case 401 | 403:
            return f"The registry does not let us pull {what} (HTTP {status}); check the image's name and the login"
        case 404:
            return f"The registry has no image {what}"
        case 429:
            return f"The registry refuses for now to let us pull {what}: too many requests (HTTP 429)"
        case _:
            return f"The registry answered with HTTP {status} when asked for {what}"
