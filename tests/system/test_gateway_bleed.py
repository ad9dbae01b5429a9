"""Many callers at once: each sees its own, whoever else is there."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway_sdk import AsyncGatewayClient
from sandyard.app.clock import SystemClock
from sandyard.services.audit.chain import Chain
from sandyard.services.keys import Keys
from sandyard.store import SqliteStore
from support.gateways import store_secret
from support.platform import Platform
from support.prefabs import KIT, call, kit, publish, result, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

USERS, CALLS = 32, 2000


async def as_user(platform: Platform, user: int, key: str) -> list[str]:
    """Make this user's part of the calls in batches of eight, all at once; return what was not as it should be."""
    wrong: list[str] = []
    headers = {"X-API-Key": key, "Accept": "application/json"}
    note = await given(platform, f"u{user}", key)
    async with httpx.AsyncClient(base_url=platform.api_url, headers=headers, timeout=300, trust_env=False) as client:

        async def batch(first: int) -> None:
            files = {"note": [note]}
            calls = [call(KIT, "mine", {"user": f"u{user}", "number": number}, files=files) for number in range(first, first + 8)]
            reply = await client.post("/v1/run", json={"calls": calls})
            for number, item in enumerate(reply.json()["results"], first):
                wrong.extend(check(item, f"u{user}", f"u{user}-{number}"))

        async with asyncio.TaskGroup() as tasks:
            for first in range(0, CALLS // USERS + 1, 8):
                tasks.create_task(batch(first))
    return wrong


def check(item: dict[str, Any], user: str, name: str) -> list[str]:
    if item["status"] != "SUCCESS":
        return [f"{name}: {item['error']}"]
    found = item["output"]["output"]
    right: dict[str, Any] = {
        "name": name,
        "seen": {"env": None, "state": None, "files": []},
        "told": {"env": name, "state": name, "file": name},
        "given": [f"note of {user}"],
        "secret": hashlib.sha256(f"secret of {user}".encode()).hexdigest(),
    }
    urls = item["output"]["files"]["output"]
    wrong = [] if found == right else [f"{name}: {found}"]
    return wrong if len(urls) == 1 and f"/{user}/" in urls[0] else [*wrong, f"{name}: {urls}"]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.promise("gateway.no_bleed")
async def test_nobody_sees_anything_of_anybody_else(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", "--memory", "256Mi", backend="process") as platform:
        await publish(platform, kit(), visibility="public")
        keys = await keys_of(platform, USERS)
        wrong = await asyncio.gather(*[as_user(platform, user, key) for user, key in enumerate(keys)])
        assert [line for lines in wrong for line in lines] == []


async def given(platform: Platform, user: str, key: str) -> str:
    """Give a user a secret and a file of its own; return the file's URL."""
    await store_secret(platform, KIT, "OF_MINE", f"secret of {user}", key=key)
    place = platform.data_dir.parent / f"note-of-{user}"
    place.write_text(f"note of {user}")
    async with AsyncGatewayClient(api_key=key, base_url=platform.api_url) as client:
        return await client.upload_input_file(place)


async def keys_of(platform: Platform, count: int) -> list[str]:
    """Make a key for each user as `sandyard key create` does, but without a process for each."""
    secrets_dir = platform.data_dir / "secrets"
    store = await SqliteStore.open(platform.data_dir / "sandyard.db")
    try:
        keys = await Keys.open(store.keys, await Chain.open(store.audit, secrets_dir, SystemClock()), SystemClock(), secrets_dir)
        return [(await keys.create("bleed", f"u{user}"))[1] for user in range(count)]
    finally:
        await store.close()


@pytest.mark.promise("gateway.no_spying")
async def test_a_function_cannot_look_into_a_call_beside_it(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        await publish(platform, kit())
        beside = asyncio.create_task(run(platform, call(KIT, "nap", {"seconds": 3.0})))
        found = await result(platform, KIT, "spy")
        assert found["output"]["output"] == {"read": []}
        assert (await beside).json()["status"] == "COMPLETED"
