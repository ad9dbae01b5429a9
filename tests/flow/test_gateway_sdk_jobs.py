"""Jobs and calls that run once, through both clients: against the real gateway, and against one that cuts connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway_sdk import Job, JobNotFoundError, JobStatus, PrefabCall, ServiceUnavailableError, ValidationError
from support.fake_platform import FakePlatform, answers, streams
from support.gateways import RUN, Kind, event, face, refuses
from support.platform import run as command
from support.prefabs import KIT, result

if TYPE_CHECKING:
    from support.gateways import Face
    from support.platform import Platform

pytestmark = pytest.mark.anyio
KINDS: tuple[Kind, ...] = ("sync", "async")


def called(name: str, parameters: dict[str, Any] | None = None, key: str | None = None) -> PrefabCall:
    return PrefabCall(KIT, "1.0.0", name, parameters, idempotency_key=key)


async def start(client: Face, *calls: PrefabCall, **options: Any) -> Job:
    return await client.call("start_job", calls, **options)


async def marks(gateway: Platform) -> list[str]:
    return (await result(gateway, KIT, "marks"))["output"]["output"]["marks"]


@pytest.mark.promise("gateway-sdk.jobs")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_is_begun_followed_and_asked_about(gateway: Platform, kind: Kind) -> None:
    async with face(kind, gateway.api_url, api_key=gateway.key) as client:
        job = await start(client, called("count", {"upto": 3, "pause": 0.1}), called("boom"))
        assert (job.status, job.ended, job.results) == (JobStatus.RUNNING, False, None)
        assert [call["function_name"] for call in job.calls] == ["count", "boom"]
        events = await client.follow(job.job_id)
        assert [item.number for item in events] == list(range(1, len(events) + 1))
        assert [item.data for item in events if item.type == "content"] == [
            item.data for item in events if item.type == "content" and item.call == 0
        ]
        assert events[-1].type == "done"
        assert await client.follow(job.job_id, after=3) == events[3:]
        job = await client.call("get_job", job.job_id)
        assert (job.status, job.ended) == (JobStatus.PARTIAL_SUCCESS, True)
        assert [item.is_success() for item in job.results] == [True, False]
        assert {item.job_id for item in job.results} == {job.job_id}
        assert job.created_at <= job.finished_at
        waited = await client.call("run", KIT, "1.0.0", "add", {"a": 1})
        assert (await client.call("get_job", waited.job_id)).results is None


@pytest.mark.promise("gateway-sdk.jobs")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_goes_on_when_it_is_left_and_ends_when_it_is_cancelled(gateway: Platform, kind: Kind) -> None:
    async with face(kind, gateway.api_url, api_key=gateway.key) as client:
        job = await start(client, called("add", {"a": 1}), called("nap", {"seconds": 7}))
        assert len(await client.follow(job.job_id, most=1)) == 1
        assert (await client.call("get_job", job.job_id)).status is JobStatus.RUNNING
        job = await client.call("cancel_job", job.job_id)
        assert job.status is JobStatus.CANCELLED
        assert [item.is_success() for item in job.results] == [True, False]
        [*_, last] = await client.follow(job.job_id)
        assert (last.type, last.error_code) == ("error", "CANCELLED")
        assert (await client.call("cancel_job", job.job_id)) == job


@pytest.mark.promise("gateway-sdk.jobs")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_of_nobody_and_one_of_another_are_not_there(gateway: Platform, kind: Kind) -> None:
    code, key, _ = await command("key", "create", "--data-dir", str(gateway.data_dir), "--owner", "a-neighbour")
    assert code == 0
    async with face(kind, gateway.api_url, api_key=gateway.key) as client, face(kind, gateway.api_url, api_key=key.strip()) as stranger:
        job = await start(client, called("add", {"a": 1}))
        for job_id in (job.job_id, "not-there", "../../v1/prefabs"):
            for asked in (stranger.call("get_job", job_id), stranger.call("cancel_job", job_id), stranger.follow(job_id)):
                with pytest.raises(JobNotFoundError) as caught:
                    await asked
                assert caught.value.job_id == job_id
        with pytest.raises(ValidationError):
            await start(client, called("add", {"a": "no number"}))


@pytest.mark.promise("gateway-sdk.jobs", "gateway-sdk.retries")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_jobs_events_are_gone_on_with_after_a_cut(kind: Kind) -> None:
    def numbered(*numbers: int) -> bytes:
        return b"".join(b"id: %d\n" % number + event("content", number, call=0) for number in numbers)

    path = "GET /v1/jobs/j%2F1/events"
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(
            path,
            streams(numbered(1, 2), cut=True),
            refuses(503, "UNAVAILABLE", retry_after="0"),
            streams(numbered(3)),
            streams(b"id: 4\n" + event("done")),
        )
        found = await client.follow("j/1")
        assert [(item.type, item.number) for item in found] == [("content", 1), ("content", 2), ("content", 3), ("done", 4)]
        assert [one.headers.get("last-event-id") for one in platform.asked(path)] == [None, "2", "2", "3"]
        platform.on(path, streams(b": nothing new\n\n", cut=True))
        before = len(platform.asked(path))
        with pytest.raises(ServiceUnavailableError):
            await client.follow("j/1", after=7)
        assert [one.headers["last-event-id"] for one in platform.asked(path)[before:]] == ["7"] * 4


@pytest.mark.promise("gateway-sdk.retries")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_is_sent_again_when_each_of_its_calls_has_a_key(kind: Kind) -> None:
    good: dict[str, Any] = {"status": "SUCCESS", "output": {}, "error": None}
    refused = refuses(503, "UNAVAILABLE", retry_after="0")
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, refused, answers({"job_id": "j", "status": "COMPLETED", "results": [good, good]}))
        await client.call("run_batch", [called("add", key="one"), called("add", key="two")])
        assert len(platform.asked(RUN)) == 2
        assert [item["idempotency_key"] for item in platform.asked(RUN)[0].json["calls"]] == ["one", "two"]
        platform.on(RUN, refused)
        with pytest.raises(ServiceUnavailableError):
            await client.call("run_batch", [called("add", key="one"), called("add")])
        assert len(platform.asked(RUN)) == 3
        assert "idempotency_key" not in platform.asked(RUN)[-1].json["calls"][1]
        with pytest.raises(ValueError, match="idempotency key"):
            await client.call("run_batch", [called("add", key="two words")])


@pytest.mark.promise("gateway.call_keys", "gateway-sdk.call-keys")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_with_a_key_runs_once_in_whatever_batch_it_comes(gateway: Platform, kind: Kind) -> None:
    key = f"once-{kind}"
    once = called("set_mark", {"mark": key}, key)
    async with face(kind, gateway.api_url, api_key=gateway.key) as client:
        first = await client.call("run_batch", [once, called("add", {"a": 1})])
        again = await client.call("run_batch", [called("add", {"a": 2}), once])
        alone = await client.call("run_batch", [once])
        assert first.results[0].output == again.results[1].output == alone.results[0].output
        assert again.results[0].get("sum") == 4
        assert (await marks(gateway)).count(key) == 1
        other = await client.call("run_batch", [called("add", {"a": 1}, key), called("add", {"a": 1})])
        assert other.results[0].error["error_code"] == "IDEMPOTENCY_MISMATCH"
        assert other.results[1].get("sum") == 3


@pytest.mark.promise("gateway.call_keys")
async def test_a_call_whose_key_is_in_use_is_in_progress_and_one_that_did_not_run_keeps_none(gateway: Platform) -> None:
    nap = called("nap", {"seconds": 1.5}, "napping")
    async with face("async", gateway.api_url, api_key=gateway.key) as client:
        job = await start(client, nap, called("add", {"a": 1}))
        beside = await client.call("run_batch", [nap, nap, called("add", {"a": 1})])
        codes = [None if item.is_success() else item.error["error_code"] for item in beside.results]
        assert codes == ["IDEMPOTENCY_IN_PROGRESS", "IDEMPOTENCY_IN_PROGRESS", None]
        await client.follow(job.job_id)
        assert (await client.call("run_batch", [nap])).results[0].is_success()
        wrong = await client.call("run_batch", [called("add", {"a": "x"}, "unused"), called("add", {"a": 1}, "used")])
        assert [item.is_success() for item in wrong.results] == [False, True]
        assert (await client.call("run_batch", [called("add", {"a": 5}, "unused")])).results[0].get("sum") == 7
        cancelled = await start(client, called("nap", {"seconds": 7}, "ended"), called("add", {"a": 1}))
        await client.follow(cancelled.job_id, most=1)
        await client.call("cancel_job", cancelled.job_id)
        [ended, _] = (await client.call("run_batch", [called("nap", {"seconds": 7}, "ended"), called("add", {"a": 1})])).results
        assert ended.error["error_code"] == "CANCELLED"


@pytest.mark.promise("gateway.call_keys")
async def test_of_two_requests_at_once_one_makes_the_call(gateway: Platform) -> None:
    calls = [called("set_mark", {"mark": "raced"}, "raced"), called("add", {"a": 1})]
    async with face("async", gateway.api_url, api_key=gateway.key) as client:
        await asyncio.gather(*[client.call("run_batch", calls) for _ in range(8)])
        assert (await marks(gateway)).count("raced") == 1
