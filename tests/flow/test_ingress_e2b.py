"""What E2B's clients need of the ingress beside headers: signed URLs, traffic tokens, traffic that wakes, masked hosts."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from sandkit.wire.errors import RATE_LIMITED, ApiError
from sandyard.domain.sandboxes import SandboxState
from sandyard.ingress.signed import sign
from sandyard.services.certificates import make_certificates
from support.ingress import ADMITTED, ID, TOKEN, echo, listening, yard

if TYPE_CHECKING:
    from pathlib import Path

    from support.ingress import Reply, Yard

pytestmark = pytest.mark.anyio

TRAFFIC = "traffic-token-of-abc123"


def signed(path: str, verb: str, /, *, user: str = "", token: str = TOKEN, expires_at: int | None = None, **changed: str) -> bytes:
    """Return a target as E2B's clients make it, with `changed` fields put over it."""
    query = {"path": path} | ({"username": user} if user else {}) | {"signature": sign(f"{path}:{verb}:{user}", token, expires_at)}
    if expires_at is not None:
        query["signature_expiration"] = str(expires_at)
    return f"/files?{urlencode(query | changed)}".encode()


async def ask(sandbox: Yard, target: bytes, *, verb: bytes = b"GET", lines: bytes = b"Host: localhost\r\n") -> Reply:
    body = b"Content-Length: 2\r\n\r\nhi" if verb == b"POST" else b"\r\n"
    return await sandbox.ask(verb + b" " + target + b" HTTP/1.1\r\n" + lines + body)


@pytest.mark.promise("ingress.signed-url")
@pytest.mark.parametrize("host", [b"Host: localhost\r\n", f"Host: 49983-{ID}.sandbox.example\r\n".encode()], ids=["shared", "named"])
async def test_a_signed_url_needs_no_header(host: bytes) -> None:
    soon = int(time.time()) + 60
    async with yard() as sandbox:
        assert (await ask(sandbox, signed("/home/user/ü a.txt", "read"), lines=host)).status == 200
        assert (await ask(sandbox, signed("a", "read", user="user", expires_at=soon), lines=host)).status == 200
        assert (await ask(sandbox, signed("a", "write"), verb=b"POST", lines=host)).status == 200


@pytest.mark.promise("ingress.signed-url")
@pytest.mark.parametrize("host", [b"Host: localhost\r\n", f"Host: 49983-{ID}.sandbox.example\r\n".encode()], ids=["shared", "named"])
@pytest.mark.parametrize(
    "target",
    [
        signed("a", "read", token="token-of-another"),
        signed("a", "read", path="b"),
        signed("a", "read", username="root"),
        signed("a", "write"),
        signed("a", "read", expires_at=int(time.time()) - 2),
        signed("a", "read", expires_at=int(time.time()) - 2, signature_expiration=str(int(time.time()) + 900)),
        signed("a", "read", signature="v1_"),
        signed("a", "read", signature="v1_ü"),
        signed("a", "read", signature_expiration="soon"),
        signed("a", "read") + b"&path=/etc/passwd",
        signed("a", "read") + b"&username=root",
        signed("a", "read").replace(b"/files", b"/health"),
    ],
    ids=["token", "path", "user", "verb", "expired", "prolonged", "empty", "letters", "no number", "two paths", "two users", "other route"],
)
async def test_a_changed_or_expired_signature_admits_nobody(host: bytes, target: bytes) -> None:
    async with yard() as sandbox:
        assert (await ask(sandbox, target, lines=host)).status in (400, 401)


@pytest.mark.promise("ingress.signed-url")
async def test_a_signature_opens_no_other_port() -> None:
    address = f"Host: localhost\r\nE2b-Sandbox-Id: {ID}\r\nE2b-Sandbox-Port: 8080\r\n".encode()
    async with yard() as sandbox:
        assert (await ask(sandbox, signed("a", "read"), lines=address)).status == 401


@pytest.mark.promise("ingress.traffic-token")
@pytest.mark.parametrize(
    ("port", "line", "status"),
    [
        (3000, "", 403),
        (3000, "E2b-Traffic-Access-Token: wrong\r\n", 403),
        (3000, f"E2b-Traffic-Access-Token: {TRAFFIC}\r\n", 200),
        (3000, f"X-Access-Token: {TOKEN}\r\n", 200),
        (49983, f"E2b-Traffic-Access-Token: {TRAFFIC}\r\n", 401),
        (49983, f"X-Access-Token: {TOKEN}\r\n", 200),
    ],
)
async def test_a_traffic_token_opens_every_port_but_the_guests(port: int, line: str, status: int) -> None:
    async with yard() as sandbox:
        sandbox.change(agent="", traffic_token=TRAFFIC)
        address = f"Host: localhost\r\nE2b-Sandbox-Id: {ID}\r\nE2b-Sandbox-Port: {port}\r\n{line}".encode()
        reply = await ask(sandbox, b"/", lines=address)
    assert reply.status == status
    if status == 200:
        assert TRAFFIC not in reply.json()["head"]


@pytest.mark.promise("ingress.auto-resume")
async def test_traffic_wakes_a_sandbox_that_wants_it_and_no_other() -> None:
    async with yard() as sandbox:
        sandbox.change(state=SandboxState.PAUSED)
        assert (await ask(sandbox, b"/", lines=ADMITTED)).status == 502
        sandbox.change(auto_resume=True)
        assert (await ask(sandbox, b"/", lines=b"Host: localhost\r\n" + f"E2b-Sandbox-Id: {ID}\r\n".encode())).status == 401
        route = sandbox.catalog.get(ID)
        assert route is not None
        assert route.state is SandboxState.PAUSED
        reply = await ask(sandbox, b"/", verb=b"POST", lines=ADMITTED)
    assert reply.status == 200
    assert reply.json()["body"] == "hi"


@pytest.mark.promise("ingress.auto-resume")
async def test_who_cannot_be_woken_says_why() -> None:
    async def refuse(_: str) -> None:
        raise ApiError(RATE_LIMITED, "No place is free")

    async with yard(wake=refuse) as sandbox:
        sandbox.change(state=SandboxState.PAUSED, auto_resume=True)
        reply = await ask(sandbox, b"/", lines=ADMITTED)
    assert (reply.status, reply.json()["message"]) == (429, "No place is free")


@pytest.mark.promise("ingress.auto-resume")
async def test_a_client_that_leaves_while_its_sandbox_wakes_leaves_nothing() -> None:
    waking, left = asyncio.Event(), asyncio.Event()

    async def slowly(_: str) -> None:
        waking.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async with yard(wake=slowly) as sandbox:
        sandbox.change(state=SandboxState.PAUSED, auto_resume=True)
        async with asyncio.timeout(10), sandbox.connect() as (_, writer):
            writer.write(b"GET / HTTP/1.1\r\n" + ADMITTED + b"\r\n")
            await waking.wait()
        async with asyncio.timeout(10):
            await left.wait()


@pytest.mark.promise("ingress.mask-host")
async def test_the_sandbox_reads_the_host_that_it_was_made_with() -> None:
    async with yard() as sandbox:
        sandbox.change(mask_request_host="localhost:${PORT}")
        reply = await ask(sandbox, b"/", lines=f"Host: 3000-{ID}.sandbox.example\r\nX-Access-Token: {TOKEN}\r\n".encode())
    assert "host: localhost:3000" in reply.json()["head"].lower()


@pytest.mark.promise("ingress.https-ports")
async def test_a_port_that_speaks_tls_itself(tmp_path: Path) -> None:
    tls = make_certificates(tmp_path, "of.nobody").context()
    async with yard() as sandbox, listening(echo, tls) as port:
        sandbox.dialer.open(ID, 8443, port)
        address = ADMITTED.replace(b"Port: 8080", b"Port: 8443")
        assert (await ask(sandbox, b"/", lines=address)).status == 502
        sandbox.change(https_ports=(8443,))
        assert [(await ask(sandbox, b"/", lines=lines)).status for lines in (address, ADMITTED)] == [200, 200]


@pytest.mark.promise("ingress.upload")
async def test_the_guest_takes_bodies_that_an_agent_would_not() -> None:
    guest = f"Host: localhost\r\nE2b-Sandbox-Id: {ID}\r\nX-Access-Token: {TOKEN}\r\n".encode()
    async with yard(body_bytes=1) as sandbox:
        assert (await ask(sandbox, b"/files?path=a", verb=b"POST", lines=guest)).status == 200
        assert (await ask(sandbox, b"/", verb=b"POST", lines=ADMITTED)).status == 413


@pytest.mark.promise("ingress.no-agent-no-token")
async def test_what_is_no_agent_is_given_no_token_of_its_owners() -> None:
    forged = ADMITTED + b"X-Internal-Token: forged\r\n"
    async with yard() as sandbox:
        assert "x-internal-token: jwt.of" in (await ask(sandbox, b"/", lines=forged)).json()["head"].lower()
        sandbox.change(agent="")
        head = (await ask(sandbox, b"/", lines=forged)).json()["head"].lower()
    assert "x-internal-token" not in head
    assert f"x-sandbox-id: {ID}" in head
