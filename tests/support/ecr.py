"""Amazon's ECR API for tests: speaks `GetAuthorizationToken`, and checks Signature Version 4 by the specification, without its library."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Self

from aiohttp import web

if TYPE_CHECKING:
    from types import TracebackType

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>\d{8}/[^/]+/[^/]+/aws4_request), SignedHeaders=(?P<names>[^,]+), "
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"


class Ecr:
    """Grants `password` to whoever signs with the one key in its region; `granted` counts."""

    def __init__(self, key: str, secret: str, region: str, password: str) -> None:
        self._key, self._secret, self._region, self._password = key, secret, region, password
        self.granted = 0
        app = web.Application()
        app.router.add_post("/", self._serve)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        found = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
        if found is None or request.headers.get("X-Amz-Target") != _TARGET:
            return _refused("MissingAuthenticationTokenException")
        if found["key"] != self._key:
            return _refused("UnrecognizedClientException")
        date = request.headers["X-Amz-Date"]
        names = found["names"].split(";")
        wanted = self._signature(request, await request.read(), date, names)
        signs = {"host", "x-amz-date", "x-amz-target"} <= set(names) and found["scope"] == f"{date[:8]}/{self._region}/ecr/aws4_request"
        if not signs or not hmac.compare_digest(found["signature"], wanted):
            return _refused("InvalidSignatureException")
        self.granted += 1
        token = base64.b64encode(f"AWS:{self._password}".encode()).decode()
        data = [{"authorizationToken": token, "expiresAt": 1.8e9, "proxyEndpoint": "https://example.com"}]
        return web.json_response({"authorizationData": data}, content_type="application/x-amz-json-1.1")

    def _signature(self, request: web.Request, body: bytes, date: str, names: list[str]) -> str:
        headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
        canonical = f"POST\n/\n\n{headers}\n{';'.join(names)}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{date[:8]}/{self._region}/ecr/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        return key.hex()


def _refused(kind: str) -> web.Response:
    body = {"__type": f"com.amazonaws.ecr#{kind}", "message": "The request signature we calculated does not match; we signed ..."}
    return web.json_response(body, status=400, content_type="application/x-amz-json-1.1")
