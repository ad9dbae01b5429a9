"""Webhooks of ended jobs: from the gateway to a receiver that uses the SDK's verifier (case 91 of the contract)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway_sdk import AsyncGatewayClient, AuthenticationError, PrefabCall, ValidationError
from gateway_sdk.webhooks import WebhookVerifier
from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio
CALLS = [PrefabCall("no-such-prefab", "1.0.0", "f"), PrefabCall("no-other-prefab", "1.0.0", "f")]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """Listens for webhooks; answers with the statuses that it was given, then with 200."""

    def __init__(self) -> None:
        self.port = 0
        self.statuses: list[int] = []
        self.came: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Receiver]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def next(self) -> tuple[dict[str, str], bytes]:
        async with asyncio.timeout(90):
            return await self.came.get()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.statuses.pop(0) if self.statuses else 200
        reply = f"HTTP/1.1 {status} x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        writer.write(reply.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        self.came.put_nowait((headers, body))


def received(verifier: WebhookVerifier, headers: dict[str, str], body: bytes) -> Any:
    with verifier.receive(headers, body) as event:
        return event


@pytest.mark.promise("abuse.91", "gateway-webhooks.told")
async def test_who_is_named_is_told_until_it_was_heard(tmp_path: Path) -> None:
    async with Receiver().listening() as receiver, Platform(tmp_path / "data", "--egress-allow", f"127.0.0.1:{receiver.port}") as server:
        url = f"http://127.0.0.1:{receiver.port}/hook?of=mine"
        async with AsyncGatewayClient(base_url=server.api_url, api_key=server.key) as client:
            secret = await client.webhook_secret()
            verifier = WebhookVerifier(secret)
            job = await client.start_job(CALLS, callback_url=url)
            told = received(verifier, *await receiver.next())
            assert (told.type, told.data["job_id"], told.data["status"]) == ("job.ended", job.job_id, "FAILED")
            assert [call["prefab_id"] for call in told.data["calls"]] == ["no-such-prefab", "no-other-prefab"]
            receiver.statuses = [307]
            again = await client.start_job(CALLS, callback_url=url)
        first = await receiver.next()
        await server.kill9()
        await server.restart()
        second = await receiver.next()
        assert first[0]["webhook-id"] == second[0]["webhook-id"]
        assert received(verifier, *first).data["job_id"] == again.job_id
        assert received(verifier, *second) is None
        assert receiver.came.empty()
        async with AsyncGatewayClient(base_url=server.api_url, api_key=server.key) as client:
            assert await client.webhook_secret() == secret
            with pytest.raises(ValidationError, match="private address"):
                await client.start_job(CALLS, callback_url="http://192.168.0.1/")
        await _check_refusals(server, url)


async def _check_refusals(server: Platform, url: str) -> None:
    for private in ("127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "0.0.0.0", "[fd00::1]"):
        for scheme in ("http", "https"):
            await _refused(server, f"{scheme}://{private}/")
    for odd in ("ftp://example.com/", "http://", "x", "http://a b/", "http://me:pw@example.com/", "http://127.1/", "http://0x7f000001/", 5):
        await _refused(server, odd)
    await _refused(server, url, prefer="")


async def _refused(server: Platform, url: object, prefer: str = "respond-async") -> None:
    body = {"calls": [{"prefab_id": "no-such-prefab", "function_name": "f"}], "callback_url": url}
    reply = await server.api.post("/v1/run", json=body, headers={"Prefer": prefer})
    assert reply.status_code == 422, (url, reply.text)
    detail = reply.json()["detail"]
    assert (detail["error_code"], detail["pointer"]) == ("VALIDATION_ERROR", "/callback_url")


def signed(secret: str, message: str, moment: int, body: bytes) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message}.{moment}.".encode() + body, hashlib.sha256).digest()
    return {"Webhook-Id": message, "Webhook-Timestamp": str(moment), "Webhook-Signature": "v1,x v1," + base64.b64encode(digest).decode()}


EVENT = json.dumps({"type": "job.ended", "timestamp": "2026-01-01T00:00:00Z", "data": {"job_id": "j1"}}).encode()
NOW = 1_614_265_330


@pytest.mark.promise("abuse.91")
def test_signatures_are_those_of_standard_webhooks() -> None:
    body = b'{"test": 2432232314}'  # the specification's own example, as its Python library signs it
    headers = signed(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, body)
    assert headers["Webhook-Signature"].endswith("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    with pytest.raises(AuthenticationError, match="no event"):
        received(WebhookVerifier(SECRET, clock=lambda: NOW), headers, body)


@pytest.mark.promise("abuse.91")
def test_what_is_unsigned_old_foreign_or_replayed_is_refused() -> None:
    verifier = WebhookVerifier(SECRET, clock=lambda: NOW)
    good = signed(SECRET, "msg_1", NOW, EVENT)
    other = "whsec_" + base64.b64encode(b"x" * 24).decode()
    for wrong in (
        {},
        {name: value for name, value in good.items() if name != "Webhook-Signature"},
        good | {"Webhook-Timestamp": "nan"},
        good | {"Webhook-Timestamp": str(NOW + 1)},
        good | {"Webhook-Id": "msg_2"},
        good | {"Webhook-Signature": "v1,\N{GREEK SMALL LETTER ALPHA}"},
        signed(SECRET, "msg_1", NOW - 301, EVENT),
        signed(SECRET, "msg_1", NOW + 301, EVENT),
        signed(other, "msg_1", NOW, EVENT),
    ):
        with pytest.raises(AuthenticationError):
            received(verifier, wrong, EVENT)
    with pytest.raises(AuthenticationError):
        received(verifier, good, EVENT + b" ")
    assert received(verifier, good, EVENT).data == {"job_id": "j1"}
    with pytest.raises(AuthenticationError, match="came before"):
        received(verifier, good, EVENT)
    assert received(WebhookVerifier(other, SECRET, clock=lambda: NOW), good, EVENT) is not None
    for no_secret in ("", "whsec_!", "x"):
        with pytest.raises(ValueError, match="whsec_"):
            WebhookVerifier(no_secret)


@pytest.mark.promise("abuse.91")
def test_an_event_is_handled_once_but_again_where_handling_failed() -> None:
    moment = [NOW]
    verifier = WebhookVerifier(SECRET, clock=lambda: moment[0])
    with pytest.raises(RuntimeError), verifier.receive(signed(SECRET, "msg_1", NOW, EVENT), EVENT):
        raise RuntimeError
    assert received(verifier, signed(SECRET, "msg_1", NOW + 5, EVENT), EVENT) is not None
    assert received(verifier, signed(SECRET, "msg_1", NOW + 10, EVENT), EVENT) is None
    moment[0] += 25 * 3600
    assert received(verifier, signed(SECRET, "msg_2", moment[0], EVENT), EVENT) is not None
