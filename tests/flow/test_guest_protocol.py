"""Connect's framing and HTTP/1.1 on the guest's port, to the letter and off it."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import TYPE_CHECKING

import pytest

from support.envd import END, PROCESS, frame, order

if TYPE_CHECKING:
    from support.envd import Envd, Wire

pytestmark = pytest.mark.anyio

STREAM = {"Content-Type": "application/connect+json"}


async def raw(wire: Wire, data: bytes) -> bytes:
    """Return everything that comes until the guest closes."""
    wire.writer.write(data)
    await wire.writer.drain()
    async with asyncio.timeout(20):
        return await wire.reader.read()


@pytest.mark.promise("envd.connect")
async def test_what_is_no_call(wire: Wire) -> None:
    assert (await wire.ask("GET", f"/{PROCESS}/List")).status == 405
    assert (await wire.ask("POST", f"/{PROCESS}/List", b"{}", Content_Type="application/proto")).status == 415
    assert (await wire.ask("POST", f"/{PROCESS}/Start", b"{}", Content_Type="application/json")).status == 415
    assert (await wire.ask("POST", f"/{PROCESS}/List", b"{}", Content_Type="application/json", Content_Encoding="gzip")).status == 415
    for body in (b"[]", b"nul", b'"x"', b"{", b"\xff", b"[" * 100_000, b'{"a":' * 50_000):
        reply = await wire.ask("POST", f"/{PROCESS}/List", body, Content_Type="application/json; charset=utf-8")
        assert (reply.status, reply.json["code"]) == (400, "invalid_argument")
    assert (await wire.ask("POST", f"//{PROCESS}//List", b"{}", Content_Type="application/json")).status == 200


@pytest.mark.promise("envd.connect")
async def test_headers_that_are_none(wire: Wire) -> None:
    for name, value in (("Connect-Timeout-Ms", "soon"), ("Connect-Timeout-Ms", "-5"), ("Keepalive-Ping-Interval", "1e9")):
        reply = await wire.call(f"{PROCESS}/List", {}, **{name: value})
        assert (reply.status, reply.json["code"]) == (400, "invalid_argument")
    for value in ("Basic !!!", "Basic " + "x" * 3):
        refused = (await wire.stream(f"{PROCESS}/Start", order("/bin/true"), Authorization=value))[-1][1]["error"]
        assert refused["code"] == "unauthenticated"
    assert (await wire.run("/bin/true", headers={"Authorization": "Bearer x"})).end["exitCode"] == 0


@pytest.mark.promise("envd.frames")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "unimplemented"),
        (b"\0\0\0", "invalid_argument"),
        (struct.pack(">BI", 0, 100) + b"{}", "invalid_argument"),
        (struct.pack(">BI", 0, 1 << 31), "resource_exhausted"),
        (struct.pack(">BI", 1, 2) + b"{}", "unimplemented"),
        (struct.pack(">BI", 0, 2) + b"[]", "invalid_argument"),
        (frame(order("/bin/true")) * 2, "unimplemented"),
    ],
)
async def test_torn_and_large_frames(wire: Wire, body: bytes, code: str) -> None:
    await wire.send("POST", f"/{PROCESS}/Start", body, STREAM)
    status, headers = await wire.head()
    found = [each async for each in wire.messages(headers)]
    assert status == 200
    assert [flags for flags, _ in found] == [END]
    assert found[0][1]["error"]["code"] == code


@pytest.mark.promise("envd.frames")
async def test_a_message_that_is_too_large(clients_sandbox: Envd) -> None:
    async with clients_sandbox.wire() as wire:
        reply = await wire.ask("POST", f"/{PROCESS}/List", b" " * (17 << 20), Content_Type="application/json")
        assert (reply.status, reply.json["code"]) == (429, "resource_exhausted")


@pytest.mark.promise("envd.keep-alive")
async def test_chunked_requests_and_pipelining(wire: Wire) -> None:
    body = json.dumps({}).encode()
    chunked = b"".join(b"1;extension=x\r\n%c\r\n" % byte for byte in body) + b"0\r\nTrailer: x\r\n\r\n"
    head = b"POST /process.Process/List HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    got = await raw(wire, (head + b"\r\n" + chunked) * 3 + head + b"Connection: close\r\n\r\n" + chunked)
    assert got.count(b"HTTP/1.1 200 OK") == 4
    assert got.count(b"Connection: close") == 1


@pytest.mark.promise("envd.keep-alive")
async def test_a_client_that_waits_is_told_to_continue(wire: Wire) -> None:
    await wire.send("POST", "/files?path=/tmp/continued", None, {"Expect": "100-continue", "Content-Type": "application/octet-stream"})
    assert (await wire.head())[0] == 100
    await wire.send_chunk(b"content")
    wire.writer.write(b"0\r\n\r\n")
    status, headers = await wire.head()
    assert status == 200
    async for _ in wire.pieces(headers):
        pass
    assert (await wire.ask("GET", "/files?path=/tmp/continued")).body == b"content"


@pytest.mark.promise("envd.hostile")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n folded\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_is_answered_and_closed(wire: Wire, data: bytes, status: int) -> None:
    got = await raw(wire, data)
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert got.count(b"\r\n\r\n") == 1


@pytest.mark.promise("envd.facts")
async def test_what_the_guest_tells(wire: Wire) -> None:
    assert (await wire.ask("GET", "/envs")).json["GREETING"] == "hello"
    found = (await wire.ask("GET", "/metrics")).json
    assert found["mem_used"] > 0
    assert found["disk_total"] > found["disk_used"] >= 0
    assert found["cpu_count"] >= 1
    for path in ("/init", "/freeze", "/unfreeze", "/fsfreeze", "/fsthaw", "/collapse", "/upgrade", "/", "/process.Process"):
        assert (await wire.ask("POST", path, b"{}", Content_Type="application/json")).status in (404, 501)
    await wire.shell("for n in $(seq 200000); do :; done")
    assert (await wire.ask("GET", "/metrics")).json["cpu_used_pct"] > 0
