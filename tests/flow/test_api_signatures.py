"""Signed requests over the wire: both clients with a secret, and one who copies a request."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, AuthenticationError, ClientConfig, SyncAgentRuntimeClient
from sandkit.wire import signing
from support.platform import run

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.promise("api.signatures", "client.signing")]


@pytest.fixture
async def signing_key(platform: Platform) -> tuple[str, str]:
    code, shown, _ = await run("key", "create", "signing", "--secret", "--data-dir", str(platform.data_dir))
    assert code == 0
    key, secret = shown.split()
    async with asyncio.timeout(10), httpx.AsyncClient(base_url=platform.api_url, headers={"X-API-Key": key}, trust_env=False) as asker:
        while (await asker.get("/templates")).status_code == 401:  # noqa: ASYNC110 (the server reads keys twice a second, and tells nobody)
            await asyncio.sleep(0.05)
    return key, secret


async def test_both_clients_sign(platform: Platform, signing_key: tuple[str, str]) -> None:
    key, secret = signing_key
    config = ClientConfig(sandbox_url=platform.sandbox_url)
    async with AgentRuntimeClient(key, platform.api_url, config=config, api_secret=secret) as client:
        assert (await client.get_template("echo:latest")).name == "echo"
        assert (await client.invoke_agent("echo", "hi")).status == "success"
        assert await client.get_session("no such session & more") is None

    def work() -> str:
        with SyncAgentRuntimeClient(key, platform.api_url, config=config, api_secret=secret) as sync_client:
            return sync_client.invoke_agent("echo", "hi").status

    assert await asyncio.to_thread(work) == "success"
    async with AgentRuntimeClient(key, platform.api_url, api_secret="ss-" + "0" * 64) as stranger:
        with pytest.raises(AuthenticationError, match="The signature does not fit"):
            await stranger.list_templates()


async def test_a_copied_request_is_worth_nothing(platform: Platform, signing_key: tuple[str, str]) -> None:
    key, secret = signing_key
    stamp = signing.Stamp(f"{time.time():.6f}", str(uuid.uuid4()))
    body_hash = signing.hash_of(b"")
    signature = signing.signature(secret, "GET", "/templates", body_hash, stamp)
    headers = signing.headers_of(signing.Signed(key, signature, stamp, body_hash))
    async with httpx.AsyncClient(base_url=platform.api_url, trust_env=False) as copier:
        assert (await copier.get("/v2/sandboxes", headers=headers)).status_code == 401
        assert (await copier.get("/templates", headers=headers)).status_code == 200
        again = await copier.get("/templates", headers=headers)
        assert (again.status_code, again.json()["error_code"]) == (401, "unauthenticated")
        assert (await copier.get("/templates", headers={**headers, "x-sandyard-nonce": "short"})).status_code == 401
