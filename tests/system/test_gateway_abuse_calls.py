"""Cases 43 to 50, 54, 61 and 88 to 90 of the gateway contract's §4.3: secrets, quotas, and what calls reach."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from support.abuse import ABUSE, INSTRUCTIONS, SECRET, abuse_kit, detail, key_of, sandyard
from support.platform import Platform, until
from support.prefabs import KIT, call, events, kit, publish, result, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

pytestmark = pytest.mark.anyio

VALUE = "s3cret/value+of=tests"


@pytest.fixture
async def secretive(abused: Platform) -> AsyncGenerator[Platform]:
    """The platform, where the secret is set."""
    assert (await set_secret(abused, VALUE)).status_code == 204
    yield abused
    await abused.api.delete(f"/v1/prefabs/{ABUSE}/secrets/{SECRET}")


@pytest.fixture(scope="module")
async def counting(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """A platform of its own for quotas, where public prefabs are called by tenants with quotas."""
    async with Platform(tmp_path_factory.mktemp("counting") / "data", backend="process") as running:
        await publish(running, kit(), visibility="public")
        yield running


async def set_secret(platform: Platform, value: Any, name: str = SECRET, key: str | None = None) -> httpx.Response:
    headers = {"X-API-Key": key or platform.key}
    return await platform.api.put(f"/v1/prefabs/{ABUSE}/secrets/{name}", json={"value": value}, headers=headers)


async def limited(platform: Platform, owner: str, *quota: str) -> dict[str, str]:
    """Return the headers of a new tenant who has a quota."""
    key = await key_of(platform, owner)
    await sandyard(platform, "quota", "set", *quota, "--owner", owner)
    return {"X-API-Key": key}


async def used(platform: Platform, headers: dict[str, str]) -> int:
    """Return how much of its one quota a tenant has used."""
    reply = await platform.api.get("/v1/usage", headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()["quotas"][0]["used"]


@pytest.mark.promise("abuse.43")
async def test_43_a_missing_secret(abused: Platform) -> None:
    found = detail(await run(abused, call(ABUSE, "use", {"how": "return"})), 400, "MISSING_SECRET")
    assert (found["prefab_id"], found["secret_name"], found["instructions"]) == (ABUSE, SECRET, INSTRUCTIONS)
    streamed = await run(abused, call(ABUSE, "leak_events"), stream=True)
    detail(streamed, 400, "MISSING_SECRET")


@pytest.mark.promise("abuse.44")
async def test_44_secrets_of_others(secretive: Platform) -> None:
    key = await key_of(secretive, "stranger-44")
    await publish(secretive, abuse_kit(), visibility="public")
    try:
        headers = {"X-API-Key": key}
        detail(await run(secretive, call(ABUSE, "use", {"how": "return"}), headers=headers), 400, "MISSING_SECRET")
        reply = await run(secretive, call(ABUSE, "optional"), headers=headers)
        assert reply.json()["results"][0]["output"]["output"] == {"length": 0}
        assert (await result(secretive, ABUSE, "optional"))["output"]["output"] == {"length": len(VALUE)}
    finally:
        await publish(secretive, abuse_kit())


@pytest.mark.promise("abuse.45", "abuse.89")
async def test_45_89_secrets_are_never_shown(secretive: Platform) -> None:
    returned = await result(secretive, ABUSE, "use", {"how": "return"})
    assert returned["output"]["output"] == {"told": ["***"] * 3, "***": "as a key", "nested": [{"deep": "<***>"}]}
    raised = await result(secretive, ABUSE, "use", {"how": "raise"})
    assert raised["error"]["message"].count("***") == 3
    assert "printed ***" in raised["error"]["log"]
    found = await events(secretive, {"calls": [call(ABUSE, "leak_events")]})
    assert [event["data"] for event in found if event["type"] in {"content", "done"}] == ["***", "***"]
    job = await run(secretive, call(ABUSE, "use", {"how": "return"}), headers={"Prefer": "respond-async"})
    job_id = job.json()["job_id"]
    printed = (await secretive.api.get(f"/v1/prefabs/{ABUSE}/logs")).text
    assert printed.count("printed ***") >= 2
    streamed = await secretive.api.get(f"/v1/jobs/{job_id}/events")
    said = [
        json.dumps(returned),
        json.dumps(raised),
        json.dumps(found),
        streamed.text,
        (await secretive.api.get(f"/v1/jobs/{job_id}")).text,
        (await secretive.api.get("/v1/secrets")).text,
        (await secretive.api.get(f"/v1/prefabs/{ABUSE}/secrets")).text,
        (await secretive.api.get("/v1/openapi.json")).text,
        (await secretive.api.get(f"/v1/prefabs/{ABUSE}/1.0.0/openapi.json")).text,
        (await set_secret(secretive, [VALUE])).text,
        (await secretive.api.put(f"/v1/prefabs/{ABUSE}/secrets/{SECRET}", content=f'{{"value": "{VALUE}"')).text,
        await sandyard(secretive, "audit", "show", "--last", "1000"),
        secretive.log.read_text(),
        printed,
    ]
    assert SECRET in said[5]
    assert [text for text in said if VALUE in text] == []
    database = b"".join(path.read_bytes() for path in secretive.data_dir.glob("sandyard.db*"))
    assert VALUE.encode() not in database


@pytest.mark.promise("abuse.46", "abuse.48")
async def test_46_48_a_used_up_quota(counting: Platform) -> None:
    headers = await limited(counting, "few-46", "2", "--per", "day")
    detail(await run(counting, call(KIT, "add", {"a": "x"}), headers=headers), 422, "VALIDATION_ERROR")
    detail(await run(counting, call(KIT, "not_there"), headers=headers), 404, "NOT_FOUND")
    assert await used(counting, headers) == 0
    for _ in range(2):
        assert (await run(counting, call(KIT, "add", {"a": 1}), headers=headers)).status_code == 200
    for stream in (False, True):
        reply = await run(counting, call(KIT, "count", {"upto": 1}), headers=headers, stream=stream)
        found = detail(reply, 429, "QUOTA_EXCEEDED")
        assert (found["limit"], found["used"]) == (2, 2)
        assert found["quota_type"]
        assert found["reset_at"]
        assert "ratelimit" in reply.headers
    batch = await run(counting, call(KIT, "add", {"a": 1}), call(KIT, "add", {"a": 2}), headers=headers)
    assert [item["error"]["error_code"] for item in batch.json()["results"]] == ["QUOTA_EXCEEDED"] * 2


@pytest.mark.promise("abuse.47")
async def test_47_a_hundred_at_once(counting: Platform) -> None:
    headers = await limited(counting, "ten-47", "10", "--per", "ever")
    replies = await asyncio.gather(*[run(counting, call(KIT, "add", {"a": number}), headers=headers) for number in range(100)])
    assert sorted({reply.status_code for reply in replies}) == [200, 429]
    assert sum(reply.status_code == 200 for reply in replies) == 10
    assert await used(counting, headers) == 10


@pytest.mark.promise("abuse.50")
async def test_50_a_rate(counting: Platform) -> None:
    headers = await limited(counting, "slow-50", "2", "--per", "minute", "--rate")
    replies = [await run(counting, call(KIT, "add", {"a": 1}), headers=headers) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 429, 429]
    detail(replies[-1], 429, "RATE_LIMITED")
    assert int(replies[-1].headers["retry-after"]) >= 1
    assert replies[-1].headers["ratelimit-policy"]


@pytest.mark.promise("abuse.49")
async def test_49_a_killed_server_gives_back(tmp_path: Any) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        await publish(platform, kit(), visibility="public")
        headers = await limited(platform, "killed-49", "1", "--per", "ever")
        running = asyncio.create_task(run(platform, call(KIT, "nap", {"seconds": 30}), headers=headers))

        async def reserved() -> bool:
            return await used(platform, headers) == 1

        await until(reserved)
        await platform.kill9()
        await asyncio.wait([running])
        running.exception()
        await platform.start()
        assert (await run(platform, call(KIT, "add", {"a": 1}), headers=headers)).status_code == 200
        assert (await run(platform, call(KIT, "add", {"a": 1}), headers=headers)).status_code == 429


@pytest.mark.promise("abuse.54")
async def test_54_a_key_of_two_users(counting: Platform) -> None:
    headers = {"Idempotency-Key": "shared-54"}
    other = {"X-API-Key": await key_of(counting, "other-54")}
    first = await run(counting, call(KIT, "add", {"a": 1}), headers=headers)
    second = await run(counting, call(KIT, "add", {"a": 2}), headers=headers | other)
    assert [reply.json()["results"][0]["output"]["output"]["sum"] for reply in (first, second)] == [3, 4]
    detail(await counting.api.get(f"/v1/jobs/{first.json()['job_id']}", headers=other), 404, "NOT_FOUND")


@pytest.mark.promise("abuse.61")
async def test_61_what_a_function_reaches(abused: Platform) -> None:
    api, ingress = urlsplit(abused.api_url), urlsplit(abused.sandbox_url)
    targets = ["169.254.169.254:80", "metadata.google.internal:80", "[::1]:80", "0.0.0.0:80"]
    targets += [f"{host}:{place.port}" for place in (api, ingress) for host in ("127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]")]
    paths = [str(abused.data_dir / name) for name in ("keeper.sock", "sandyard.db", "sandboxes", "secrets")]
    found = await result(abused, ABUSE, "connect", {"targets": targets, "paths": paths})
    assert found["output"]["output"] == {"reached": [], "seen": []}


@pytest.mark.promise("abuse.88")
async def test_88_secrets_that_are_none(abused: Platform) -> None:
    for value in ("", "x" * 2**20, "a\x00b", None, 5, ["x"], {"a": 1}):
        reply = await set_secret(abused, value)
        assert reply.status_code in {413, 422}, (str(value)[:20], reply.text)
        assert reply.json()["detail"]["error_code"] in {"VALIDATION_ERROR", "PAYLOAD_TOO_LARGE"}
    for name in ("PATH", "LD_PRELOAD", "PYTHONPATH", "LD_LIBRARY_PATH", "X_INTERNAL_TOKEN", "lower", "A-B", "A" * 200):
        detail(await set_secret(abused, "value", name), 422, "VALIDATION_ERROR")
    reply = await abused.api.put(f"/v1/prefabs/{ABUSE}/secrets/{SECRET}", content=b"\xff\xfe", headers={"Content-Type": "application/json"})
    detail(reply, 400, "BAD_REQUEST")
    assert (await abused.api.get(f"/v1/prefabs/{ABUSE}/secrets")).json() == []


@pytest.mark.promise("abuse.90")
async def test_90_a_row_that_was_moved(tmp_path: Any) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        await publish(platform, abuse_kit(), visibility="public")
        key = await key_of(platform, "thief-90")
        assert (await set_secret(platform, VALUE)).status_code == 204
        assert (await set_secret(platform, "the thief's own", key=key)).status_code == 204
        with sqlite3.connect(platform.data_dir / "sandyard.db", timeout=20) as database:
            changed = database.execute(
                "UPDATE prefab_secrets SET sealed = (SELECT sealed FROM prefab_secrets WHERE owner = 'default') WHERE owner = 'thief-90'"
            )
            assert changed.rowcount == 1
        database.close()
        reply = await run(platform, call(ABUSE, "use", {"how": "return"}), headers={"X-API-Key": key})
        detail(reply, 500, "INTERNAL")
        assert VALUE not in reply.text

        async def told() -> bool:
            return "cannot be opened" in platform.log.read_text()

        await until(told, 5)
