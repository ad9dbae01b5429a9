"""What a sandbox is asked for and what is told of it, over the control plane (memory back end)."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.platform import run, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.platform import Platform

pytestmark = pytest.mark.anyio

REQUIRED = {"templateID", "sandboxID", "clientID", "envdVersion", "envdAccessToken"}
DETAIL = {"startedAt", "endAt", "cpuCount", "memoryMB", "diskSizeMB", "state", "lifecycle", "network"}


@pytest.fixture
async def sandbox(platform: Platform) -> AsyncGenerator[dict[str, Any]]:
    created = await platform.create("echo", metadata={"of": "options"})
    yield created
    await platform.api.delete(f"/sandboxes/{created['sandboxID']}")


async def detail_of(platform: Platform, id_: str) -> dict[str, Any]:
    return (await platform.api.get(f"/sandboxes/{id_}")).json()


def seconds(detail: dict[str, Any]) -> float:
    return datetime.fromisoformat(detail["endAt"]).timestamp() - time.time()


@pytest.mark.promise("sandboxes.options", "sandboxes.reply")
@pytest.mark.parametrize(("path", "expected"), [("/v2/sandboxes", 300), ("/sandboxes", 15)])
async def test_each_version_has_its_time_out(platform: Platform, path: str, expected: int) -> None:
    reply = await platform.api.post(path, json={"templateID": "echo", "nodeID": None, "secure": False})
    assert reply.status_code == 201
    assert reply.json().keys() >= REQUIRED
    id_ = reply.json()["sandboxID"]
    detail = await detail_of(platform, id_)
    assert detail.keys() >= REQUIRED | DETAIL
    assert expected - 10 < seconds(detail) <= expected
    connected = (await platform.api.post(f"/v2/sandboxes/{id_}-client/connect", json={"timeout": 600})).json()
    assert connected["envdAccessToken"] == reply.json()["envdAccessToken"] == detail["envdAccessToken"]
    await platform.api.delete(f"/sandboxes/{id_}-client")


@pytest.mark.promise("sandboxes.options")
async def test_what_was_asked_for_is_described(platform: Platform) -> None:
    made = await platform.create(
        "echo",
        autoPause=True,
        autoResume={"enabled": True},
        allow_internet_access=False,
        envVars={"A": "b"},
        metadata={"k": "v"},
        mcp={},
        iam={"tokens": {}},
        network={
            "allowOut": ["api.example.com", "*.example.org", "10.0.0.0/8"],
            "denyOut": ["0.0.0.0/0"],
            "allowPublicTraffic": True,
            "maskRequestHost": "localhost:${PORT}",
            "httpsPorts": [8443],
            "rules": {},
            "dnsServers": [],
            "egressProxy": None,
        },
    )
    detail = await detail_of(platform, made["sandboxID"])
    assert detail["lifecycle"] == {"onTimeout": "pause", "autoResume": True}
    assert detail["allowInternetAccess"] is False
    assert detail["network"] == {
        "allowOut": ["api.example.com", "*.example.org", "10.0.0.0/8"],
        "denyOut": ["0.0.0.0/0"],
        "allowPublicTraffic": True,
        "maskRequestHost": "localhost:${PORT}",
        "httpsPorts": [8443],
    }
    assert "trafficAccessToken" not in made
    assert "pauseMode" not in detail
    assert "A" not in str(detail["metadata"])
    await platform.api.delete(f"/sandboxes/{made['sandboxID']}")


@pytest.mark.promise("sandboxes.options")
async def test_the_legacy_spelling_of_internet_access(platform: Platform) -> None:
    made = await platform.create("echo", allowInternetAccess=False)
    assert (await detail_of(platform, made["sandboxID"]))["allowInternetAccess"] is False
    await platform.api.delete(f"/sandboxes/{made['sandboxID']}")


@pytest.mark.promise("sandboxes.traffic-token")
async def test_who_may_reach_which_port(platform: Platform, sandbox: dict[str, Any]) -> None:
    token = sandbox["trafficAccessToken"]
    assert token != sandbox["envdAccessToken"]
    headers = {"PPIO-Sandbox-Id": sandbox["sandboxID"], "PPIO-Sandbox-Port": "8080"}
    async with httpx.AsyncClient(base_url=platform.sandbox_url, headers=headers, trust_env=False) as anyone:
        assert (await anyone.get("/")).status_code == 401  # an agent; E2B's own templates answer 403: test_ingress_e2b
        assert (await anyone.get("/", headers={"E2B-Traffic-Access-Token": token})).status_code == 200
        guest = {"PPIO-Sandbox-Port": "49983", "E2B-Traffic-Access-Token": token, "X-Access-Token": token}
        assert (await anyone.get("/health", headers=guest)).status_code in (401, 403)
    base = await platform.create("base")
    assert "trafficAccessToken" not in base
    assert (await detail_of(platform, base["sandboxID"]))["network"]["allowPublicTraffic"] is True
    closed = await platform.create("base", network={"allowPublicTraffic": False})
    assert closed["trafficAccessToken"]
    for made in (base, closed):
        await platform.api.delete(f"/sandboxes/{made['sandboxID']}")


@pytest.mark.promise("sandboxes.network", "sandboxes.traffic-token")
async def test_a_changed_way_out_leaves_the_way_in_and_connect_changes_both(platform: Platform) -> None:
    made = await platform.create("echo", network={"maskRequestHost": "h", "httpsPorts": [8443], "allowPublicTraffic": False})
    url = f"/sandboxes/{made['sandboxID']}"
    assert (await platform.api.put(f"{url}/network", json={"denyOut": ["1.1.1.1"]})).status_code == 204
    network = (await detail_of(platform, made["sandboxID"]))["network"]
    assert (network["denyOut"], network["maskRequestHost"], network["httpsPorts"]) == (["1.1.1.1"], "h", [8443])
    connected = await platform.api.post(f"{url}/connect", json={"timeout": 60, "network": {"allowPublicTraffic": True}})
    assert "trafficAccessToken" not in connected.json()
    headers = {"PPIO-Sandbox-Id": made["sandboxID"], "PPIO-Sandbox-Port": "8080"}
    async with httpx.AsyncClient(base_url=platform.sandbox_url, headers=headers, trust_env=False) as anyone:
        assert (await anyone.get("/")).status_code == 200
        again = await platform.api.post(f"{url}/connect", json={"allowPublicTraffic": False})
        assert again.json()["trafficAccessToken"] == made["trafficAccessToken"]
        assert (await anyone.get("/")).status_code == 401  # an agent; E2B's own templates answer 403: test_ingress_e2b
    assert (await detail_of(platform, made["sandboxID"]))["network"]["denyOut"] == []
    await platform.api.delete(url)


@pytest.mark.promise("sandboxes.list")
async def test_the_list_goes_by_order_start_and_template(platform: Platform) -> None:
    first, second = [(await platform.create("echo", metadata={"order": "yes"}))["sandboxID"] for _ in range(2)]
    base = await platform.create("base", metadata={"order": "yes"})

    async def listed(**query: str) -> list[str]:
        reply = await platform.api.get("/v2/sandboxes", params={"metadata": "order=yes", **query})
        assert reply.status_code == 200, reply.text
        assert all("envdAccessToken" not in row for row in reply.json())
        return [row["sandboxID"] for row in reply.json()]

    assert await listed() == [base["sandboxID"], second, first]
    assert await listed(order="asc", limit="2") == [first, second]
    assert await listed(template="echo") == [second, first]
    assert await listed(template=base["templateID"]) == [base["sandboxID"]]
    assert await listed(template="unknown") == []
    starts = [datetime.fromisoformat((await detail_of(platform, id_))["startedAt"]) for id_ in (first, second)]
    between = starts[0] + (starts[1] - starts[0]) / 2
    assert await listed(startedAfter=between.isoformat(), order="asc") == [second, base["sandboxID"]]
    page = await platform.api.get("/v2/sandboxes", params={"metadata": "order=yes", "order": "asc", "limit": 1})
    assert await listed(order="asc", limit="1", nextToken=page.headers["x-next-token"]) == [second]
    assert (await platform.api.get("/v2/sandboxes?order=sideways")).status_code == 400
    for path in ("/v2/sandboxes", "/snapshots", "/v2/templates"):
        assert (await platform.api.get(path, params={"nextToken": "nowhere"})).status_code == 400, path
    for id_ in (first, second, base["sandboxID"]):
        await platform.api.delete(f"/sandboxes/{id_}")


@pytest.mark.promise("sandboxes.auto-resume")
async def test_traffic_resumes_what_was_made_so_and_nothing_else(platform: Platform) -> None:
    wakes = await platform.create("echo", autoPause=True, autoResume={"enabled": True}, timeout=60)
    sleeps = await platform.create("echo", autoPause=True)
    for made in (wakes, sleeps):
        assert (await platform.api.post(f"/sandboxes/{made['sandboxID']}/pause", json={"requireHealthyGuest": True})).status_code == 204
    assert (await detail_of(platform, wakes["sandboxID"]))["pauseMode"] == "full"
    assert (await platform.call(wakes)).status_code == 200
    detail = await detail_of(platform, wakes["sandboxID"])
    assert detail["state"] == "running"
    assert seconds(detail) <= 60
    assert (await platform.call(sleeps)).status_code == 502
    assert (await detail_of(platform, sleeps["sandboxID"]))["state"] == "paused"
    for made in (wakes, sleeps):
        await platform.api.delete(f"/sandboxes/{made['sandboxID']}")


@pytest.mark.promise("sandboxes.options")
async def test_what_the_memory_back_end_cannot_do_is_501_and_changes_nothing(platform: Platform, sandbox: dict[str, Any]) -> None:
    url = f"/sandboxes/{sandbox['sandboxID']}"
    for method, path, body in (
        ("POST", "/snapshots", {}),
        ("POST", "/fork", {"count": 2}),
        ("POST", "/clone", {"count": 1}),
        ("POST", "/pause", {"memory": False}),
        ("POST", "/commit", {"alias": "kept"}),
        ("POST", "/hotplug-memory", {"requested_size_mib": 512}),
        ("GET", "/metrics", None),
    ):
        reply = await platform.api.request(method, url + path, json=body)
        assert reply.status_code == 501, (path, reply.text)
        assert reply.json()["code"] == 501
        assert reply.headers["should-retry"] == "false"
    assert (await detail_of(platform, sandbox["sandboxID"]))["state"] == "running"
    assert (await platform.call(sandbox)).status_code == 200
    assert (await platform.api.get("/snapshots")).json() == []


@pytest.mark.promise("sandboxes.auto-pause")
async def test_where_no_files_can_be_saved_a_time_out_pauses_with_memory(platform: Platform) -> None:
    made = await platform.create("echo", timeout=1, autoPause=True, autoPauseMemory=False)
    before = (await platform.call(made)).json()["calls"]

    async def is_paused() -> bool:
        return (await detail_of(platform, made["sandboxID"])).get("pauseMode") == "full"

    await until(is_paused)
    await platform.api.post(f"/sandboxes/{made['sandboxID']}/connect", json={"timeout": 60})
    assert (await platform.call(made)).json()["calls"] == before + 1
    await platform.api.delete(f"/sandboxes/{made['sandboxID']}")


@pytest.mark.promise("sandboxes.events")
async def test_events_are_told_also_after_the_end(platform: Platform) -> None:
    made = await platform.create("echo")
    url = f"/sandboxes/{made['sandboxID']}"
    for path in ("/pause", "/connect"):
        await platform.api.post(url + path)
    await platform.api.put(f"{url}/network", json={"denyOut": ["example.com"]})
    await platform.api.delete(url)
    own = (await platform.api.get(f"/events/sandboxes/{made['sandboxID']}", params={"orderAsc": True})).json()
    words = [event["type"].removeprefix("sandbox.lifecycle.") for event in own]
    assert words == ["created", "paused", "resumed", "updated", "killed"]
    assert own[-1]["eventData"] == {"reason": "It was closed"}
    assert {event["sandboxTemplateId"] for event in own} == {made["templateID"]}
    query = {"sandboxID": made["sandboxID"], "types": "killed,created", "limit": 1}
    assert [event["type"] for event in (await platform.api.get("/sandboxes/events", params=query)).json()] == ["sandbox.lifecycle.killed"]
    assert (await platform.api.get("/events/sandboxes/unknown")).status_code == 404


@pytest.mark.promise("sandboxes.quota")
async def test_the_quota_counts(platform: Platform, sandbox: dict[str, Any]) -> None:
    before = (await platform.api.get("/sandboxes/quota")).json()
    assert before["available"] == before["maxSandboxes"] - before["used"]
    await platform.api.post(f"/sandboxes/{sandbox['sandboxID']}/pause")
    after = (await platform.api.get("/sandboxes/quota")).json()
    assert (after["running"], after["paused"]) == (before["running"] - 1, before["paused"] + 1)


@pytest.fixture(scope="module")
async def stranger(platform: Platform) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with another owner's key."""
    code, out, err = await run("key", "create", "stranger", "--owner", "stranger", "--data-dir", str(platform.data_dir))
    assert code == 0, err
    async with httpx.AsyncClient(base_url=platform.api_url, headers={"X-API-Key": out.strip()}, trust_env=False) as client:

        async def is_known() -> bool:
            return (await client.get("/v2/sandboxes")).status_code == 200

        await until(is_known)  # a running server takes note of a new key within a second
        yield client


BODIES: dict[str, dict[str, Any]] = {"/sandboxes/{sandbox_id}/timeout": {"timeout": 5}, "/sandboxes/{sandbox_id}/network": {"denyOut": []}}


@pytest.mark.promise("sandboxes.owners")
async def test_another_owners_sandbox_is_404_in_every_verb(
    platform: Platform, sandbox: dict[str, Any], stranger: httpx.AsyncClient
) -> None:
    paths = (await platform.api.get("/openapi.json")).json()["paths"]
    verbs = [(method, path) for path, methods in paths.items() for method in methods if "{sandbox_id}" in path]
    assert len(verbs) > 15
    verbs += [("post", "/sandboxes/{sandbox_id}/connect")]
    for method, path in verbs:
        url = path.format(sandbox_id=sandbox["sandboxID"])
        body = BODIES.get(path) if method in ("post", "put", "patch") else None
        reply = await stranger.request(method, url, json=body)
        if reply.status_code == 400 and "volume" in path:
            continue  # asks for a body before it looks
        assert reply.status_code == 404, (method, path, reply.text)
        assert reply.json()["code"] == 404
    assert (await platform.call(sandbox)).status_code == 200
    query = {"sandbox_ids": sandbox["sandboxID"]}
    assert (await stranger.get("/sandboxes/metrics", params=query)).json() == {"sandboxes": {}}
    assert (await stranger.get("/sandboxes/events", params={"sandboxID": sandbox["sandboxID"]})).json() == []
