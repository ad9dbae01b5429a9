"""Cases 93 to 96 of the gateway contract's §4.3: odd requests, as bytes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from support.abuse import raw, statuses
from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with Platform(tmp_path_factory.mktemp("plain") / "data") as running:
        yield running


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: x", "Connection: close", *headers, "", ""]).encode("latin-1") + body


@pytest.mark.promise("abuse.93")
@pytest.mark.parametrize("path", ["/v1/run", "/v1/prefabs", "/internal/files/upload", "/mcp", "/sandboxes"])
async def test_93_preflights(plain: Platform, path: str) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    reply = await plain.api.options(path, headers=headers)
    assert 400 <= reply.status_code < 500
    again = await plain.api.get("/v1/prefabs", headers={"Origin": "https://evil.example"})
    for answer in (reply, again):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "set-cookie" not in answer.headers


@pytest.mark.promise("abuse.94")
@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/%2e%2e/internal/files/list HTTP/1.1",
        "GET /v1/prefabs/%2e%2e/%2e%2e/internal/files/list HTTP/1.1",
        "GET /v1/prefabs/..%2f..%2finternal%2ffiles%2flist/spec HTTP/1.1",
        "GET /v1/prefabs/%252e%252e/spec HTTP/1.1",
        "GET /v1/prefabs;/x HTTP/1.1",
        "GET /v1/blobs/..%2f..%2fsecrets%2fapi_key HTTP/1.1",
        "GET //internal/files/list HTTP/1.1",
        "TRACE /v1/prefabs HTTP/1.1",
        "CONNECT 127.0.0.1:22 HTTP/1.1",
        "PROPFIND /v1/prefabs HTTP/1.1",
        "GET /internal/files/list%00 HTTP/1.1",
    ],
)
async def test_94_paths_and_methods(plain: Platform, line: str) -> None:
    answer = await raw(plain, request(line, f"X-API-Key: {plain.key}"))
    found = statuses(answer)
    assert len(found) <= 1
    assert all(400 <= status < 500 for status in found), answer[:500]
    assert plain.key.encode() not in answer


@pytest.mark.promise("abuse.94")
async def test_94_hosts_and_overrides(plain: Platform) -> None:
    for headers in (
        ["X-HTTP-Method-Override: DELETE"],
        ["X-Method-Override: DELETE"],
        ["X-Original-URL: /internal/files/list"],
        ["Forwarded: host=evil"],
    ):
        answer = await raw(plain, request("GET /v1/nothing HTTP/1.1", f"X-API-Key: {plain.key}", *headers))
        assert statuses(answer) == [404]
    absolute = request(
        "GET http://evil.example/v1/prefabs HTTP/1.1"
    )  # a server must read this form (RFC 9112 §3.2.2); its host counts for nothing
    assert statuses(await raw(plain, absolute)) == [401]
    answer = await raw(plain, b"GET /v1/prefabs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert statuses(answer) == [401]
    assert b"evil.example" not in answer
    answer = await raw(plain, b"GET /v1/prefabs HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n")
    assert all(400 <= status < 500 for status in statuses(answer))


@pytest.mark.promise("abuse.95")
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
        b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"Content-Length: +2\r\n\r\n{}",
        b"Content-Length: 2\nX: y\n\n{}",
        b"Bad Header: x\r\n\r\n",
        b"X: y\r\n z\r\n\r\n",
        b"Content-Length : 2\r\n\r\n{}",
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_95_framing(plain: Platform, framing: bytes) -> None:
    """One request in, one refusal out: nothing behind it is read as another request."""
    smuggled = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST /v1/run HTTP/1.1\r\nHost: x\r\nX-API-Key: {plain.key}\r\nContent-Type: application/json\r\n".encode()
    found = statuses(await raw(plain, head + framing + smuggled, seconds=4))
    assert 204 not in found or (len(found) == 2 and 400 <= found[0] < 500), found
    assert all(status == 204 or 400 <= status < 500 for status in found)
    assert (await plain.api.get("/v1/prefabs")).status_code == 200


@pytest.mark.promise("abuse.95")
async def test_95_heads_that_are_too_long(plain: Platform) -> None:
    lines = "".join(f"X-{number}: {'y' * 900}\r\n" for number in range(120))
    for more in (f"X-Long: {'x' * 100_000}\r\n", lines):
        answer = await raw(plain, f"GET /v1/prefabs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n".encode())
        assert all(400 <= status < 500 for status in statuses(answer)), statuses(answer)


@pytest.mark.slow
@pytest.mark.promise("abuse.95")
async def test_95_heads_that_come_slowly(plain: Platform) -> None:
    """Clients that send a head byte by byte, nothing at all, or a body too slowly are hung up on, and others are served meanwhile."""
    host, port = plain.api_url.removeprefix("http://").split(":")
    slow = [await asyncio.open_connection(host, int(port)) for _ in range(50)]
    for _, writer in slow[1:]:
        writer.write(b"POST /v1/run HTTP/1.1\r\nHost: x\r\nX-Slow: x")
    kept = b"GET /v1/prefabs HTTP/1.1\r\nHost: x\r\n\r\n"
    slow[-1][1].write(b"x\r\n\r\n" + kept + b"GET ")
    body = b"POST /v1/run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: " + plain.key.encode()
    late = asyncio.create_task(raw(plain, body + b"\r\nContent-Length: 100\r\n\r\n{", seconds=50))
    assert (await plain.api.get("/v1/prefabs")).status_code == 200
    async with asyncio.timeout(40):
        answers = await asyncio.gather(*[reader.read() for reader, _ in slow])
    assert answers[:-1] == [b""] * 49
    assert statuses(answers[-1])[-1] == 401
    assert statuses(await late) == [408]
    for _, writer in slow:
        writer.close()


@pytest.mark.promise("gateway.error_body")
async def test_96_every_refusal_has_one_form(plain: Platform) -> None:
    def body(answer: bytes) -> Any:
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    for line, status in (
        ("GET /v1/prefabs HTTP/1.1", 401),
        ("PATCH /v1/run HTTP/1.1", 405),
        ("GET /v1/nothing HTTP/1.1", 404),
        ("GET /internal/nothing HTTP/1.1", 404),
        ("GET /v1/blobs/x HTTP/1.1", 403),
        ("GET /mcp HTTP/1.1", 401),
        ("POST /mcp/x/y HTTP/1.1", 404),
    ):
        answer = await raw(plain, request(line))
        assert statuses(answer) == [status], (line, answer)
        detail = body(answer)["detail"]
        assert {"error_code", "message", "request_id"} <= detail.keys()
        for trace in (b"Traceback", b"site-packages", b"/root", b"SELECT", b"sqlite"):
            assert trace not in answer
