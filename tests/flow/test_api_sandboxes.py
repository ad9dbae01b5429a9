"""Sandboxes over the control plane, as E2B's clients use it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from support.packages import ECHO, write_agent
from support.platform import Platform, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox(platform: Platform) -> AsyncGenerator[dict[str, Any]]:
    created = await platform.create("echo", timeout=120, metadata={"test": "one"})
    yield created
    await platform.api.delete(f"/sandboxes/{created['sandboxID']}")


async def is_gone(platform: Platform, sandbox: dict[str, Any]) -> bool:
    return (await platform.api.get(f"/sandboxes/{sandbox['sandboxID']}")).status_code == 404


@pytest.mark.promise("api.lifecycle")
async def test_create_describe_call_kill(platform: Platform) -> None:
    created = await platform.create("echo", timeout=60, metadata={"a": "b c"})
    id_ = created["sandboxID"]
    assert id_.isalnum()
    assert {"templateID", "sandboxID", "clientID", "envdVersion", "envdAccessToken"} <= created.keys()
    detail = (await platform.api.get(f"/sandboxes/{id_}-client")).json()
    assert detail["state"] == "running"
    assert detail["metadata"] == {"a": "b c"}
    assert detail["envdAccessToken"] == created["envdAccessToken"]
    assert detail["isolation"]["backend"] == "memory"
    assert (await platform.call(created)).json()["path"] == "/"
    assert (await platform.api.delete(f"/sandboxes/{id_}")).status_code == 204
    gone = await platform.api.get(f"/sandboxes/{id_}")
    assert gone.json()["details"]["state"] == "stopped"
    assert (await platform.call(created)).status_code == 502


@pytest.mark.promise("api.pause")
async def test_pause_keeps_memory_and_connect_resumes(platform: Platform, sandbox: dict[str, Any]) -> None:
    url = f"/sandboxes/{sandbox['sandboxID']}"
    before = (await platform.call(sandbox)).json()["calls"]
    assert (await platform.api.post(f"{url}/pause")).status_code == 204
    assert (await platform.api.get(url)).json()["state"] == "paused"
    assert (await platform.api.post(f"{url}/pause")).status_code == 409
    assert (await platform.call(sandbox)).status_code == 502
    resumed = await platform.api.post(f"{url}/connect", json={"timeout": 60})
    assert resumed.status_code == 201
    assert resumed.json()["envdAccessToken"] == sandbox["envdAccessToken"]
    assert (await platform.call(sandbox)).json()["calls"] == before + 1
    assert (await platform.api.post(f"/v2{url}/connect", json={})).status_code == 200


@pytest.mark.promise("api.pause")
async def test_pause_connect_and_kill_at_once_leave_one_state(platform: Platform, sandbox: dict[str, Any]) -> None:
    url = f"/sandboxes/{sandbox['sandboxID']}"
    replies = await asyncio.gather(
        *(platform.api.post(f"{url}/pause") for _ in range(6)), *(platform.api.post(f"{url}/connect", json={}) for _ in range(6))
    )
    assert {reply.status_code for reply in replies} <= {200, 201, 204, 409}
    if (await platform.api.get(url)).json()["state"] == "paused":
        await platform.api.post(f"{url}/connect", json={})
    assert (await platform.call(sandbox)).status_code == 200
    replies = await asyncio.gather(*(platform.api.delete(url) for _ in range(4)), *(platform.api.post(f"{url}/pause") for _ in range(2)))
    assert [reply.status_code for reply in replies[:4]].count(204) == 1
    assert await is_gone(platform, sandbox)


@pytest.mark.promise("api.timeouts")
async def test_a_time_out_kills_or_pauses(platform: Platform) -> None:
    killed = await platform.create("echo", timeout=1)
    paused = await platform.create("echo", timeout=1, autoPause=True)
    await until(lambda: is_gone(platform, killed))
    reply = await platform.api.get(f"/sandboxes/{killed['sandboxID']}")
    assert reply.json()["details"]["reason"] == "Its time was up"

    async def is_paused() -> bool:
        return (await platform.api.get(f"/sandboxes/{paused['sandboxID']}")).json()["state"] == "paused"

    await until(is_paused)
    assert (await platform.api.post(f"/sandboxes/{paused['sandboxID']}/connect", json={"timeout": 60})).status_code == 201
    assert (await platform.call(paused)).status_code == 200
    await platform.api.delete(f"/sandboxes/{paused['sandboxID']}")


@pytest.mark.promise("api.timeouts")
async def test_timeout_sets_refresh_and_connect_only_extend(platform: Platform, sandbox: dict[str, Any]) -> None:
    url = f"/sandboxes/{sandbox['sandboxID']}"

    async def end() -> str:
        return (await platform.api.get(url)).json()["endAt"]

    first = await end()
    assert (await platform.api.post(f"{url}/refreshes", json={"duration": 5})).status_code == 204
    await platform.api.post(f"{url}/connect", json={"timeout": 5})
    assert await end() == first
    await platform.api.post(f"{url}/refreshes", json={"duration": 600})
    assert await end() > first
    assert (await platform.api.post(f"{url}/timeout", json={"timeout": 5})).status_code == 204
    assert await end() < first
    await platform.api.post(f"{url}/timeout", json={"timeout": 0})
    await until(lambda: is_gone(platform, sandbox))


@pytest.mark.promise("api.list")
async def test_list_filters_and_pages(platform: Platform) -> None:
    mark = "k/é v&="
    made = [(await platform.create("echo", metadata={"group": mark, "n": str(n)}))["sandboxID"] for n in range(3)]
    await platform.api.post(f"/sandboxes/{made[0]}/pause")
    query = quote(urlencode({"group": quote(mark)}))
    seen: list[str] = []
    token = ""
    while True:
        page = await platform.api.get(f"/v2/sandboxes?metadata={query}&limit=2&nextToken={token}")
        seen += [row["sandboxID"] for row in page.json()]
        token = page.headers.get("x-next-token", "")
        if not token:
            break
    assert seen == made[::-1]
    paused = await platform.api.get(f"/v2/sandboxes?metadata={query}&state=paused")
    assert [(row["sandboxID"], row["state"]) for row in paused.json()] == [(made[0], "paused")]
    assert (await platform.api.get("/v2/sandboxes?state=weird")).status_code == 400
    for id_ in made:
        await platform.api.delete(f"/sandboxes/{id_}")


@pytest.mark.promise("api.idempotency")
async def test_one_idempotency_key_makes_one_sandbox(platform: Platform) -> None:
    body = {"templateID": "echo"}
    replies = await asyncio.gather(
        *(platform.api.post("/v2/sandboxes", json=body, headers={"Idempotency-Key": "same-1"}) for _ in range(5))
    )
    ids = {reply.json()["sandboxID"] for reply in replies}
    assert len(ids) == 1
    await platform.api.delete(f"/sandboxes/{ids.pop()}")
    again = await platform.api.post("/v2/sandboxes", json=body, headers={"Idempotency-Key": "same-1"})
    assert again.status_code == 201
    await platform.api.delete(f"/sandboxes/{again.json()['sandboxID']}")


@pytest.mark.promise("api.crash")
async def test_an_agent_that_never_listens_fails_the_create_and_leaves_nothing(platform: Platform, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    source = f"import pathlib\nif pathlib.Path({str(gate)!r}).exists(): raise SystemExit(7)\n" + ECHO
    await platform.deploy(write_agent(tmp_path / "sulky", "sulky", source))
    gate.touch()
    reply = await platform.api.post("/v2/sandboxes", json={"templateID": "sulky", "metadata": {"mood": "sulky"}})
    assert (reply.status_code, reply.json()["error_code"]) == (424, "agent_failed")
    details = reply.json()["details"]
    assert details["exit_code"] == 7
    ended = (await platform.api.get(f"/sandboxes/{details['sandbox_id']}")).json()
    assert (ended["error_code"], ended["details"]["state"]) == ("sandbox_not_found", "failed")
    assert (await platform.api.get("/v2/sandboxes?metadata=mood%3Dsulky")).json() == []


@pytest.mark.promise("api.owners")
async def test_other_owners_things_do_not_exist(platform: Platform, sandbox: dict[str, Any]) -> None:
    code, out, err = await run("key", "create", "other", "--owner", "somebody", "--data-dir", str(platform.data_dir))
    assert code == 0, err
    headers = {"X-API-Key": out.strip()}
    async with httpx.AsyncClient(base_url=platform.api_url, headers=headers, trust_env=False) as other:

        async def is_known() -> bool:
            return (await other.get("/v2/sandboxes")).status_code == 200

        await until(is_known)  # a running server takes note of a new key within a second
        assert (await other.get("/v2/sandboxes")).json() == []
        assert (await other.get("/templates")).json() == []
        for method, path in (
            ("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/connect"), ("POST", "/refreshes"), ("GET", "/logs"),
        ):  # fmt: skip
            reply = await other.request(method, f"/sandboxes/{sandbox['sandboxID']}{path}")
            assert reply.status_code == 404, (method, path)
        assert (await other.post("/v2/sandboxes", json={"templateID": sandbox["templateID"]})).status_code == 404
        assert (await other.delete(f"/templates/{sandbox['templateID']}")).status_code == 404


@pytest.mark.promise("api.concurrent")
@pytest.mark.parametrize("options", [(), ("--max-sandboxes", "20")])
async def test_fifty_creates_at_once_succeed_or_are_429(tmp_path: Path, options: tuple[str, ...]) -> None:
    async with Platform(tmp_path / "data", *options) as platform:
        await platform.deploy(write_agent(tmp_path / "echo"))
        replies = await asyncio.gather(*(platform.api.post("/v2/sandboxes", json={"templateID": "echo"}) for _ in range(50)))
        made = [reply.json() for reply in replies if reply.status_code == 201]
        refused = [reply for reply in replies if reply.status_code != 201]
        assert len(made) == (20 if options else 50)
        assert all(reply.status_code == 429 and reply.headers["retry-after"].isdecimal() for reply in refused)
        listed = (await platform.api.get("/v2/sandboxes?limit=1000")).json()
        assert {row["sandboxID"] for row in listed} == {sandbox["sandboxID"] for sandbox in made}
        for sandbox in made[:10]:
            assert (await platform.call(sandbox)).status_code == 200
        await asyncio.gather(*(platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}") for sandbox in made))
        assert (await platform.api.post("/v2/sandboxes", json={"templateID": "echo"})).status_code == 201


@pytest.mark.promise("api.leaving")
async def test_a_client_that_leaves_a_create_leaves_no_sandbox(platform: Platform, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    source = f"import os, time, pathlib\nif pathlib.Path({str(gate)!r}).exists(): time.sleep(1.5)\n" + ECHO
    await platform.deploy(write_agent(tmp_path / "slow", "slow", source))
    gate.touch()
    with pytest.raises(httpx.ReadTimeout):
        await platform.api.post("/v2/sandboxes", json={"templateID": "slow", "metadata": {"left": "yes"}}, timeout=0.3)

    async def listed() -> list[Any]:
        return (await platform.api.get("/v2/sandboxes?metadata=left%3Dyes")).json()

    await asyncio.sleep(2)  # longer than the start would have taken: absence has no event
    assert await listed() == []
