"""Jobs: asked for with Prefer: respond-async, looked at, followed, cancelled."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from support.platform import run as command
from support.prefabs import KIT, call, run

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = pytest.mark.anyio

LATER = {"Prefer": "respond-async"}


async def begin(gateway: Platform, *calls: dict[str, Any], headers: dict[str, str] | None = None) -> str:
    reply = await run(gateway, *calls, headers=LATER | (headers or {}))
    assert reply.status_code == 202, reply.text
    answer = reply.json()
    assert answer["status"] == "RUNNING"
    assert answer["results"] is None
    assert reply.headers["location"] == f"/v1/jobs/{answer['job_id']}"
    assert reply.headers["preference-applied"] == "respond-async"
    return answer["job_id"]


async def follow(gateway: Platform, job_id: str, after: str | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Return the events of a job from `after` on, each with its id."""
    headers = {} if after is None else {"Last-Event-ID": after}
    found: list[tuple[int, dict[str, Any]]] = []
    number = 0
    async with gateway.api.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as reply:
        assert reply.status_code == 200
        async for line in reply.aiter_lines():
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: "):
                found.append((number, json.loads(line[6:])))
    return found


async def ended(gateway: Platform, job_id: str) -> dict[str, Any]:
    await follow(gateway, job_id)
    reply = await gateway.api.get(f"/v1/jobs/{job_id}")
    assert reply.status_code == 200
    return reply.json()


@pytest.mark.promise("gateway.jobs")
async def test_a_job_is_answered_at_once_and_has_results_later(gateway: Platform) -> None:
    job_id = await begin(gateway, call(KIT, "nap", {"seconds": 0.3}), call(KIT, "add", {"a": 1}), call(KIT, "boom"))
    running = (await gateway.api.get(f"/v1/jobs/{job_id}")).json()
    assert running["status"] == "RUNNING"
    assert [item["function_name"] for item in running["calls"]] == ["nap", "add", "boom"]
    job = await ended(gateway, job_id)
    assert job["status"] == "PARTIAL_SUCCESS"
    assert [item["status"] for item in job["results"]] == ["SUCCESS", "SUCCESS", "FAILED"]
    assert job["results"][1]["output"]["output"] == {"sum": 3}
    assert job["finished_at"] >= job["created_at"]


@pytest.mark.promise("gateway.jobs")
async def test_a_plain_run_is_a_job_too(gateway: Platform) -> None:
    for name, parameters, status in (("add", {"a": 1}, "COMPLETED"), ("boom", None, "FAILED")):
        job_id = (await run(gateway, call(KIT, name, parameters))).json()["job_id"]
        job = (await gateway.api.get(f"/v1/jobs/{job_id}")).json()
        assert job["status"] == status
        assert job["results"] is None
        assert job["calls"] == [{"prefab_id": KIT, "version": "1.0.0", "function_name": name}]


@pytest.mark.promise("gateway.jobs")
async def test_a_job_that_cannot_be_admitted_is_refused_at_once(gateway: Platform) -> None:
    reply = await run(gateway, call(KIT, "add"), headers=LATER)
    assert (reply.status_code, reply.json()["detail"]["error_code"]) == (422, "VALIDATION_ERROR")


@pytest.mark.promise("gateway.jobs")
async def test_a_job_is_its_callers_alone(gateway: Platform) -> None:
    job_id = await begin(gateway, call(KIT, "add", {"a": 1}))
    code, key, _ = await command("key", "create", "--data-dir", str(gateway.data_dir), "--owner", "someone-else")
    assert code == 0
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        reply = await gateway.api.request(method, f"/v1/jobs/{job_id}{path}", headers={"X-API-Key": key.strip()})
        assert (reply.status_code, reply.json()["detail"]["error_code"]) == (404, "NOT_FOUND")
    assert (await gateway.api.get("/v1/jobs/not-there")).status_code == 404
    assert (await ended(gateway, job_id))["status"] == "COMPLETED"


@pytest.mark.promise("gateway.job_events")
async def test_the_events_of_a_job_are_numbered_and_can_be_gone_on_with(gateway: Platform) -> None:
    job_id = await begin(gateway, call(KIT, "count", {"upto": 3, "pause": 0.1}))
    found = await follow(gateway, job_id)
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert [event["type"] for _, event in found] == ["start", "content", "content", "content", "progress", "done"]
    assert found[-1][1]["data"]["status"] == "COMPLETED"
    assert all(event["call"] == 0 for _, event in found[:-1])
    assert await follow(gateway, job_id, after="3") == found[3:]
    assert await follow(gateway, job_id, after=str(found[-2][0])) == found[-1:]
    assert (await gateway.api.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"})).status_code == 422


@pytest.mark.promise("gateway.job_events")
async def test_a_job_whose_calls_fail_ends_with_an_error(gateway: Platform) -> None:
    job_id = await begin(gateway, call(KIT, "boom"))
    found = await follow(gateway, job_id)
    assert [event["type"] for _, event in found] == ["progress", "error"]
    assert found[-1][1]["error_code"] == "FAILED"


@pytest.mark.promise("gateway.job_cancel")
async def test_a_running_job_is_cancelled(gateway: Platform) -> None:
    job_id = await begin(gateway, call(KIT, "add", {"a": 1}), call(KIT, "nap", {"seconds": 7, "mark": "cancelled-job"}))
    async with gateway.api.stream("GET", f"/v1/jobs/{job_id}/events") as running:
        async for line in running.aiter_lines():
            if '"SUCCESS"' in line:
                break
    async with asyncio.timeout(3):
        reply = await gateway.api.delete(f"/v1/jobs/{job_id}")
    assert reply.status_code == 200
    job = reply.json()
    assert job["status"] == "CANCELLED"
    assert job["results"][0]["status"] == "SUCCESS"
    assert job["results"][1]["error"]["error_code"] == "CANCELLED"
    found = await follow(gateway, job_id)
    assert found[-1][1]["type"] == "error"
    assert found[-1][1]["error_code"] == "CANCELLED"
    assert (await gateway.api.delete(f"/v1/jobs/{job_id}")).json()["status"] == "CANCELLED"


@pytest.mark.promise("gateway.jobs", "gateway.idempotency")
async def test_a_job_with_a_key_is_begun_once(gateway: Platform) -> None:
    headers = {"Idempotency-Key": "job-once"}
    job_id = await begin(gateway, call(KIT, "add", {"a": 1}), headers=headers)
    await follow(gateway, job_id)
    reply = await run(gateway, call(KIT, "add", {"a": 1}), headers=LATER | headers)
    assert reply.status_code == 202
    assert reply.json()["job_id"] == job_id
    assert reply.json()["status"] == "COMPLETED"
