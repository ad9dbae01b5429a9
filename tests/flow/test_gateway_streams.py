"""Streams over HTTP: who gets events, how they end, what a slow or absent reader does."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.prefabs import KIT, call, events, result, run

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = pytest.mark.anyio

ENDS = ("done", "error")


def body(name: str, parameters: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"calls": [call(KIT, name, parameters)]} | more


async def stream(gateway: Platform, name: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return all events of a streaming function; the last one, and only it, must be terminal."""
    found = await events(gateway, body(name, parameters))
    assert [event["type"] in ENDS for event in found] == [False] * (len(found) - 1) + [True], found
    return found


@pytest.mark.promise("gateway.stream_choice")
@pytest.mark.parametrize(
    ("accept", "wish", "streams"),
    [
        ("text/event-stream", {}, True),
        ("*/*", {}, True),
        ("application/json", {}, False),
        ("application/json", {"stream": True}, True),
        ("text/event-stream", {"stream": False}, False),
        ("*/*", {"stream": False}, False),
    ],
)
async def test_the_caller_chooses(gateway: Platform, accept: str, wish: dict[str, bool], streams: bool) -> None:
    reply = await gateway.api.post("/v1/run", json=body("count", {"upto": 2}, **wish), headers={"Accept": accept})
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/event-stream") == streams
    if not streams:
        output = reply.json()["results"][0]["output"]["output"]
        assert output["content"] == "0 1 "
        assert output["result"] == {"counted": 2}
        assert [event["type"] for event in output["events"]] == ["start", "content", "content", "done"]


@pytest.mark.promise("gateway.stream_choice")
async def test_a_plain_function_streams_its_start_and_its_result(gateway: Platform) -> None:
    found = await events(gateway, body("add", {"a": 1}))
    assert [event["type"] for event in found] == ["start", "done"]
    assert found[1]["data"]["output"] == {"sum": 3}
    failed = await events(gateway, body("boom"))
    assert [event["type"] for event in failed] == ["start", "error"]
    assert failed[1]["error_code"] == "FUNCTION_ERROR"
    plain = await gateway.api.post("/v1/run", json=body("add", {"a": 1}), headers={"Accept": "*/*"})
    assert plain.headers["content-type"] == "application/json"


@pytest.mark.promise("gateway.stream_preflight")
async def test_a_stream_is_refused_before_its_first_byte(gateway: Platform) -> None:
    headers = {"Accept": "text/event-stream"}
    reply = await gateway.api.post("/v1/run", json=body("count"), headers=headers)
    assert (reply.status_code, reply.json()["detail"]["error_code"]) == (422, "VALIDATION_ERROR")
    reply = await gateway.api.post("/v1/run", json={"calls": [call("not-there", "count")]}, headers=headers)
    assert (reply.status_code, reply.json()["detail"]["error_code"]) == (404, "NOT_FOUND")


@pytest.mark.promise("gateway.stream_end")
@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("no done", {"type": "done", "data": None}),
        ("late", {"type": "done", "data": "end"}),
        ("error", {"type": "error", "data": "as it said", "error_code": "ITS_OWN"}),
        ("raise", {"type": "error", "error_code": "FUNCTION_ERROR"}),
        ("die", {"type": "error", "error_code": "WORKER_DIED"}),
    ],
)
async def test_a_stream_ends_once(gateway: Platform, kind: str, end: dict[str, Any]) -> None:
    found = await stream(gateway, "mixed", {"kind": kind})
    assert found[0] == {"type": "content", "data": "first"}
    assert end.items() <= found[-1].items(), found[-1]
    assert not any(event.get("data") == "late" for event in found)


@pytest.mark.promise("gateway.stream_end")
async def test_events_of_no_type_are_content_and_files_come_with_the_end(gateway: Platform) -> None:
    found = await stream(gateway, "mixed", {"kind": "plain"})
    assert [event["data"] for event in found[:-1]] == ["first", "just text", 1]
    assert {event["type"] for event in found[:-1]} == {"content"}
    with_file = await stream(gateway, "mixed", {"kind": "file"})
    assert with_file[-1]["files"]["output"][0].startswith("s3://")
    assert [event["data"] for event in await stream(gateway, "later_events")] == ["one", "two", None]


@pytest.mark.promise("gateway.stream_lines")
async def test_an_event_is_one_line_whatever_is_in_it(gateway: Platform) -> None:
    reply = await gateway.api.post("/v1/run", json=body("mixed", {"kind": "lines"}), headers={"Accept": "text/event-stream"})
    lines = [line for line in reply.content.split(b"\n") if line and not line.startswith(b":")]
    assert all(line.startswith(b"data: {") for line in lines)
    assert reply.content.endswith(b"\n\n")
    parsed = [json.loads(line[6:]) for line in lines]
    assert parsed[1]["data"] == 'a\nb\r\u2028\ndata: {"type":"done"}'
    assert [event["type"] for event in parsed] == ["content", "content", "done"]


@pytest.mark.promise("gateway.stream_size")
async def test_an_event_that_is_too_large_ends_the_stream(gateway: Platform) -> None:
    found = await stream(gateway, "mixed", {"kind": "large"})
    assert found[-1]["error_code"] == "EVENT_TOO_LARGE"
    collected = await result(gateway, KIT, "mixed", {"kind": "large"})
    assert collected["error"]["error_code"] == "EVENT_TOO_LARGE"


@pytest.mark.promise("gateway.stream_idle")
async def test_a_silent_stream_beats_and_then_ends(gateway: Platform) -> None:
    reply = await gateway.api.post("/v1/run", json=body("mixed", {"kind": "silent"}), headers={"Accept": "text/event-stream"})
    lines = reply.text.splitlines()
    assert sum(line.startswith(":") for line in lines) >= 3
    last = json.loads([line for line in lines if line.startswith("data: ")][-1][6:])
    assert last["type"] == "error"
    assert last["error_code"] == "TIMEOUT"
    assert "yielded nothing for 4 seconds" in last["data"]


@pytest.mark.promise("gateway.stream_end")
async def test_events_come_when_they_are_yielded(gateway: Platform) -> None:
    async with gateway.api.stream("POST", "/v1/run", json=body("count", {"upto": 5, "pause": 0.2}), headers={"Accept": "*/*"}) as reply:
        lines = reply.aiter_lines()
        times = [asyncio.get_running_loop().time() async for line in lines if line.startswith("data: ")]
    assert times[-1] - times[1] > 0.7, "they came together"


async def marks(gateway: Platform, mark: str) -> int:
    return (await result(gateway, KIT, "marks"))["output"]["output"]["marks"].count(mark)


@pytest.mark.promise("gateway.disconnect")
async def test_a_reader_that_leaves_ends_the_function(gateway: Platform) -> None:
    async with gateway.api.stream("POST", "/v1/run", json=body("endless", {"mark": "left-stream"}), headers={"Accept": "*/*"}) as reply:
        async for line in reply.aiter_lines():
            if line.startswith("data: "):
                break
    await result(gateway, KIT, "nap", {"seconds": 2.0})  # what the contract gives it
    there = await marks(gateway, "left-stream")
    await result(gateway, KIT, "nap", {"seconds": 0.5})
    assert await marks(gateway, "left-stream") == there


@pytest.mark.promise("gateway.stream_pressure")
async def test_a_slow_reader_slows_the_function_down(gateway: Platform) -> None:
    before = gateway.peak_memory()
    wanted = body("endless", {"mark": "slow", "size": 100_000, "pause": 0.0})
    async with (
        httpx.AsyncClient(base_url=gateway.api_url, headers={"X-API-Key": gateway.key}, trust_env=False) as client,
        client.stream("POST", "/v1/run", json=wanted, headers={"Accept": "*/*"}) as reply,
    ):
        assert reply.status_code == 200
        await result(gateway, KIT, "nap", {"seconds": 1.0})  # nobody reads meanwhile
        there = await marks(gateway, "slow")
        await result(gateway, KIT, "nap", {"seconds": 1.0})
        assert await marks(gateway, "slow") == there, "the function went on for nobody"
    assert gateway.peak_memory() - before < 64 * 2**20


@pytest.mark.promise("gateway.idempotency")
async def test_a_stream_with_a_key_is_not_run_twice(gateway: Platform) -> None:
    headers = {"Idempotency-Key": "stream-once"}
    first = await events(gateway, body("count", {"upto": 2}), headers=headers)
    again = await events(gateway, body("count", {"upto": 2}), headers=headers)
    assert first[-1] == {"type": "done", "data": {"counted": 2}}
    assert [event["type"] for event in again] == ["done"]
    assert (await run(gateway, call(KIT, "add", {"a": 1}), headers=headers)).status_code == 422
