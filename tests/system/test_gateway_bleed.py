"""Many callers at once: each sees its own, whoever else is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.platform import Platform
from support.platform import run as command
from support.prefabs import KIT, call, kit, publish, result, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

USERS, CALLS, TOGETHER = 32, 2000, 64


async def as_user(platform: Platform, user: int, key: str, turns: asyncio.Semaphore) -> list[str]:
    """Make this user's part of the calls in batches of eight; return what was not as it should be."""
    wrong: list[str] = []
    headers = {"X-API-Key": key, "Accept": "application/json"}
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(base_url=platform.api_url, headers=headers, timeout=100, trust_env=False, limits=limits) as client:

        async def batch(first: int) -> None:
            calls = [call(KIT, "mine", {"user": f"u{user}", "number": number}) for number in range(first, first + 8)]
            async with turns:
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
        keys = [await key_of(platform, f"u{user}") for user in range(USERS)]
        turns = asyncio.Semaphore(TOGETHER // 8)
        wrong = await asyncio.gather(*[as_user(platform, user, key, turns) for user, key in enumerate(keys)])
        assert [line for lines in wrong for line in lines] == []


async def key_of(platform: Platform, owner: str) -> str:
    code, key, _ = await command("key", "create", "--data-dir", str(platform.data_dir), "--owner", owner)
    assert code == 0
    return key.strip()


@pytest.mark.promise("gateway.no_spying")
async def test_a_function_cannot_look_into_a_call_beside_it(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        await publish(platform, kit())
        beside = asyncio.create_task(run(platform, call(KIT, "nap", {"seconds": 3.0})))
        found = await result(platform, KIT, "spy")
        assert found["output"]["output"] == {"read": []}
        assert (await beside).json()["status"] == "COMPLETED"
