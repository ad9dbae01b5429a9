"""What goes through the ingress, what it answers itself, and what it refuses."""

from __future__ import annotations

import base64

import pytest

from sandyard.domain.sandboxes import SandboxState
from support.ingress import ADDRESS, ADMITTED, ID, KEY, OTHER_KEY, TOKEN, read_reply, yard

pytestmark = pytest.mark.anyio


def get(*lines: bytes, path: bytes = b"/x") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + b"".join(lines) + b"\r\n"


def credential(line: str) -> bytes:
    return ADDRESS + line.encode() + b"\r\n"


@pytest.mark.promise("ingress.identity")
async def test_agent_sees_our_identity_and_not_the_callers_claims() -> None:
    async with yard() as sandbox:
        spoof = b"X-Internal-Token: mine\r\nx_internal_token: mine\r\nX-Sandbox-Id: other\r\nX-Custom: kept\r\nX-Request-Id: my-id\r\n"
        reply = await sandbox.ask(get(ADMITTED, spoof))
    head = reply.json()["head"]
    assert reply.headers["x-request-id"] == "my-id"
    assert "x-request-id: my-id" in head
    assert f"x-internal-token: jwt.of.{ID}" in head
    assert f"x-sandbox-id: {ID}" in head
    assert "x-custom: kept" in head
    assert "mine" not in head
    assert TOKEN not in head
    assert "ppio" not in head.lower()


@pytest.mark.promise("ingress.platform-key")
@pytest.mark.parametrize(
    "lines",
    [
        f"X-API-Key: {KEY}",
        f"x-api-KEY: {KEY}",
        f"Authorization: Bearer {KEY}",
        f"authorization: bearer   {KEY}",
        f"Authorization: Bearer e2b_{KEY[3:]}",
        f"Authorization: Basic {base64.b64encode(f'user:{KEY}'.encode()).decode()}\r\nX-Access-Token: {TOKEN}",
        f"Authorization: {KEY}\r\nX-Access-Token: {TOKEN}",
        f"Authorization: Bearer {KEY}\r\nAuthorization: Bearer {KEY.upper()}",
        f"X-Access-Token: {TOKEN}\r\nX_API_Key: {KEY}",
        f"X-Access-Token: {TOKEN}\r\nCookie: a=1; key={KEY}; b=2",
        f"X-Access-Token: {TOKEN}\r\nX-Anything: {KEY.upper()}",
        f"X-Access-Token: {TOKEN}\r\nX-Anything: {KEY}00ff",
        f"X-Access-Token: {TOKEN}\r\nProxy-Authorization: Bearer {KEY}",
        f"E2b-Traffic-Access-Token: {TOKEN}\r\nReferer: http://x/?k={KEY}",
    ],
)
async def test_platform_key_never_reaches_the_agent(lines: str) -> None:
    async with yard() as sandbox:
        reply = await sandbox.ask(get(credential(lines)))
    assert reply.status == 200
    seen = reply.json()["head"].lower()
    assert KEY[3:] not in seen
    assert "authorization" not in seen
    assert TOKEN not in seen


@pytest.mark.promise("ingress.platform-key")
async def test_platform_key_in_the_url_is_refused() -> None:
    async with yard() as sandbox:
        reply = await sandbox.ask(get(ADMITTED, path=f"/x?api_key={KEY}".encode()))
    assert reply.status == 400
    assert KEY not in reply.body.decode()


async def test_agents_own_authorization_passes() -> None:
    async with yard() as sandbox:
        reply = await sandbox.ask(get(ADMITTED, b"Authorization: Bearer sk-of-somebody-else\r\n"))
    assert "authorization: Bearer sk-of-somebody-else" in reply.json()["head"]


@pytest.mark.promise("ingress.admission")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("X-Other: 1", 401),
        ("X-Access-Token: wrong", 401),
        ("X-API-Key: sk-unknown", 401),
        (f"X-API-Key: {OTHER_KEY}", 403),
        (f"X-API-Key: {KEY}", 200),
    ],
)
async def test_only_the_token_or_the_owner_is_admitted(line: str, status: int) -> None:
    async with yard() as sandbox:
        assert (await sandbox.ask(get(credential(line)))).status == status


@pytest.mark.promise("ingress.admission")
async def test_public_sandbox_admits_everyone_but_to_the_guest() -> None:
    guest = f"Host: localhost\r\nE2b-Sandbox-Id: {ID}\r\n".encode()
    async with yard(public=True) as sandbox:
        assert (await sandbox.ask(get(ADDRESS))).status == 200
        assert (await sandbox.ask(get(guest))).status == 401
        assert (await sandbox.ask(get(guest, f"X-Access-Token: {TOKEN}\r\n".encode()))).status == 200


@pytest.mark.promise("ingress.routing")
@pytest.mark.parametrize(
    "address",
    [
        f"Host: 127.0.0.1:8801\r\nE2b-Sandbox-Id: {ID}\r\nE2b-Sandbox-Port: 3000\r\n",
        f"Host: [::1]:8801\r\nNOVITA-Sandbox-Id: {ID}-client\r\nNOVITA-Sandbox-Port: 3000\r\n",
        f"Host: 3000-{ID}.sandbox.example\r\n",
        f"Host: 3000-{ID}-client.example:8801\r\n",
        f"Host: sandbox.example\r\nPPIO-Sandbox-Id: {ID}\r\n",
        "Host: anything.example\r\n",
    ],
)
async def test_ways_to_name_a_sandbox(address: str) -> None:
    async with yard() as sandbox:
        reply = await sandbox.ask(get(address.encode(), f"X-Access-Token: {TOKEN}\r\n".encode()))
    assert reply.status == 200


@pytest.mark.promise("ingress.routing")
async def test_headers_do_not_override_another_host() -> None:
    async with yard() as sandbox:
        reply = await sandbox.ask(get(f"Host: 3000-other9.example\r\nPPIO-Sandbox-Id: {ID}\r\n".encode()))
    assert (reply.status, reply.json()["sandboxId"]) == (502, "other9")


@pytest.mark.promise("ingress.not-found")
async def test_unknown_sandbox() -> None:
    async with yard() as sandbox:
        reply = await sandbox.ask(get(b"Host: localhost\r\nE2b-Sandbox-Id: nobody\r\nX-Request-Id: r1\r\n"))
    assert reply.status == 502
    assert reply.json() == {
        "sandboxId": "nobody",
        "code": 502,
        "message": "The sandbox was not found",
        "error_code": "sandbox_gone",
        "request_id": "r1",
    }


@pytest.mark.promise("ingress.port-closed")
async def test_closed_port() -> None:
    async with yard() as sandbox:
        sandbox.dialer.shut(ID, 3000)
        reply = await sandbox.ask(get(f"Host: 3000-{ID}.x\r\nX-Access-Token: {TOKEN}\r\n".encode()))
    assert reply.status == 502
    assert reply.json()["message"] == "The sandbox is running but port is not open"


@pytest.mark.promise("ingress.paused")
async def test_paused_sandbox_is_never_connected_to() -> None:
    async with yard() as sandbox:
        assert (await sandbox.ask(get(ADMITTED))).status == 200
        connects = sandbox.dialer.connects
        sandbox.change(state=SandboxState.PAUSED)
        reply = await sandbox.ask(get(ADMITTED))
        assert sandbox.dialer.connects == connects
    assert reply.status == 502
    assert reply.json()["message"] == "The sandbox was not found: it is paused. Resume it first."
    assert reply.json()["error_code"] == "sandbox_paused"


@pytest.mark.promise("ingress.ended")
async def test_ended_sandbox_says_why_to_its_owner_only() -> None:
    async with yard() as sandbox:
        sandbox.change(state=SandboxState.FAILED, reason="The agent exited with code 3", exit_code=3, output="boom")
        reply = await sandbox.ask(get(ADMITTED))
        stranger = await sandbox.ask(get(ADDRESS))
    assert reply.json()["message"] == "The sandbox was not found: The agent exited with code 3"
    assert reply.json()["details"] == {"state": "failed", "reason": "The agent exited with code 3", "exit_code": 3, "output": "boom"}
    assert stranger.status == 401
    assert b"boom" not in stranger.body


@pytest.mark.promise("ingress.guest-verbs")
@pytest.mark.parametrize("path", [b"/init", b"//init", b"/./init", b"/x/../init", b"/%69nit", b"/INIT/", b"/freeze?x=1", b"/init;a"])
async def test_guests_inner_verbs_are_hidden(path: bytes) -> None:
    async with yard() as sandbox:
        guest = f"Host: 49983-{ID}.x\r\nX-Access-Token: {TOKEN}\r\n".encode()
        assert (await sandbox.ask(get(guest, path=path))).status == 404
        tidied = await sandbox.ask(get(guest, path=b"//process.Process//List?a=//b"))
    assert tidied.json()["head"].startswith("GET /process.Process/List?a=//b HTTP/1.1")


@pytest.mark.promise("ingress.smuggling")
@pytest.mark.parametrize(
    "raw",
    [
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Content-Length: 5, 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Content-Length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Content-Length: 0x5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\n" + ADMITTED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"Content-Length : 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"X-A: b\r\n folded\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"X-A: b\x00c\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"X-A: b\rX-B: c\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b"X A: b\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + ADMITTED + b": b\r\n\r\n",
        b"GET http://other.example/ HTTP/1.1\r\n" + ADMITTED + b"\r\n",
        b"GET / HTTP/1.1\r\n" + ADMITTED + b"Host: second\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A: b\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\n" + ADMITTED + b"\r\n",
        b"GET nowhere HTTP/1.1\r\n" + ADMITTED + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
)
async def test_ambiguous_requests_are_refused(raw: bytes) -> None:
    async with yard() as sandbox:
        answer = await sandbox.everything(raw)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 "))
        assert answer.count(b"x-request-id: ") == 1
        assert sandbox.dialer.connects == 0


@pytest.mark.promise("ingress.smuggling")
@pytest.mark.parametrize(
    "body", [b"5\r\nhelloXX0\r\n\r\n", b"zz\r\nhello\r\n0\r\n\r\n", b"-1\r\n\r\n", b"ffffffffffffffffff\r\nhello", b"5\nhello\n0\n\n"]
)
async def test_bad_chunks_are_refused(body: bytes) -> None:
    async with yard() as sandbox:
        answer = await sandbox.everything(b"POST / HTTP/1.1\r\n" + ADMITTED + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.promise("ingress.framing")
async def test_hop_by_hop_headers_and_trailers_stay_here() -> None:
    async with yard() as sandbox:
        hop = b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n"
        chunked = b"Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-T: secret\r\nHost: evil\r\n"
        reply = await sandbox.ask(b"POST /x HTTP/1.1\r\n" + ADMITTED + hop + chunked + b"\r\n")
    head = reply.json()["head"].lower()
    assert reply.json()["body"] == "abcde"
    assert not any(word in head for word in ("x-hop", "keep-alive", "trailer", "te:", "proxy-", "upgrade", "evil", "x-t"))


@pytest.mark.promise("ingress.framing")
async def test_upgrade_that_is_no_websocket_is_an_ordinary_request() -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
    async with yard() as sandbox, sandbox.connect() as (reader, writer):
        writer.write(b"POST /1 HTTP/1.1\r\n" + ADMITTED + upgrade + b"Content-Length: 3\r\n\r\nabc" + get(ADMITTED, path=b"/2"))
        first, second = await read_reply(reader), await read_reply(reader)
    assert first.json()["body"] == "abc"
    assert second.json()["head"].startswith("GET /2 ")


@pytest.mark.promise("ingress.limits")
async def test_head_and_body_limits() -> None:
    async with yard(head_bytes=2000, body_bytes=1000) as sandbox:
        assert (await sandbox.ask(get(ADMITTED, b"X-A: " + b"a" * 3000 + b"\r\n"))).status == 431
        assert (await sandbox.ask(b"GET /" + b"a" * 3000)).status == 431
        announced = await sandbox.ask(b"POST / HTTP/1.1\r\n" + ADMITTED + b"Content-Length: 1001\r\n\r\n")
        streamed = await sandbox.ask(
            b"POST / HTTP/1.1\r\n" + ADMITTED + b"Transfer-Encoding: chunked\r\n\r\n" + (b"200\r\n" + b"a" * 512 + b"\r\n") * 2
        )
    assert (announced.status, streamed.status) == (413, 413)


@pytest.mark.promise("ingress.slow-clients")
async def test_slow_clients_lose_their_place() -> None:
    async with yard(head_timeout=0.1, body_timeout=0.1, idle_timeout=0.1) as sandbox:
        assert (await sandbox.everything(b"GET / HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408 ")
        body = b"POST / HTTP/1.1\r\n" + ADMITTED + b"Content-Length: 10\r\n\r\nabc"
        assert (await sandbox.everything(body)).startswith(b"HTTP/1.1 408 ")
        idle = await sandbox.everything(get(ADMITTED))
        assert idle.startswith(b"HTTP/1.1 200 ")


@pytest.mark.promise("ingress.expect")
async def test_expect_is_answered_here() -> None:
    async with yard() as sandbox, sandbox.connect() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\n" + ADMITTED + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        reply = await read_reply(reader)
    assert reply.json()["body"] == "abc"
    assert "expect" not in reply.json()["head"].lower()
