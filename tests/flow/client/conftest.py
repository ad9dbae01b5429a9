"""A platform that misbehaves on purpose, a client of it, and a session on it that is `i1`."""

from __future__ import annotations

import pytest

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, ClientConfig
from support.fake_platform import FakePlatform, answers, created, detail


@pytest.fixture
async def platform():
    async with FakePlatform() as fake:
        fake.on("POST /sandboxes", created())
        fake.on("GET /sandboxes/i1", answers(detail()))
        fake.on("DELETE /sandboxes/i1", answers(status=204))
        yield fake


@pytest.fixture
async def client(platform: FakePlatform):
    config = ClientConfig(sandbox_url=platform.url, retry_delay=0.01)
    async with AgentRuntimeClient("sk-testing", platform.url, config=config) as made:
        yield made


@pytest.fixture
async def session(client: AgentRuntimeClient):
    return await client.create_session("hello")
