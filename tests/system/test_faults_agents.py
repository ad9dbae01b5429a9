"""Agents that do harm: the one who called is told why, the neighbours answer, nothing is left."""

from __future__ import annotations

import asyncio
import errno
import time
from typing import TYPE_CHECKING, Any

import pytest

from support import traces
from support.hostile import DISK, PROCESSES, Hostile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import httpx

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
async def neighbour(hostile: Hostile) -> AsyncGenerator[dict[str, Any]]:
    """A session that must go on, with its memory, whatever the other does."""
    session = await hostile.session()
    assert (await hostile.result(session, "count"))["calls"] == 1
    yield session
    assert (await hostile.result(session, "count"))["calls"] == 2
    await hostile.end(session)


def assert_error(reply: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert (body["code"], body["error_code"]) == (status, slug)
    assert body["request_id"] == reply.headers["x-request-id"]
    return body


async def needs_limit(hostile: Hostile, session: dict[str, Any], limit: str) -> None:
    info = (await hostile.platform.api.get(f"/sandboxes/{session['sandboxID']}")).json()["isolation"]
    if limit not in info["limits"]:
        assert info["notes"], "a limit that is not held must be said"
        pytest.skip(f"this machine lets nobody limit {limit}")


@pytest.mark.promise("faults.exits-at-once")
async def test_an_agent_that_exits_at_its_start_fails_the_create_with_code_and_last_lines(
    hostile: Hostile, neighbour: dict[str, Any]
) -> None:
    reply = await hostile.platform.api.post("/v2/sandboxes", json={"templateID": "hostile", "envVars": {"START": "exit"}})
    error = assert_error(reply, 424, "agent_failed")
    assert error["message"] == "The agent did not start: The agent exited with code 7"
    assert error["details"]["exit_code"] == 7
    assert "farewell" in error["details"]["output"]
    hostile.see_nothing_left(error["details"]["sandbox_id"])


@pytest.mark.promise("faults.never-listens")
async def test_an_agent_that_never_listens_is_ended_at_its_time(hostile: Hostile, neighbour: dict[str, Any], tmp_path: Path) -> None:
    await hostile.deploy(tmp_path / "agent", "impatient", ready_seconds=3)
    reply = await hostile.platform.api.post("/v2/sandboxes", json={"templateID": "impatient", "envVars": {"START": "silent"}})
    error = assert_error(reply, 424, "agent_failed")
    assert "did not listen on port 8080 within 3 s" in error["message"]
    assert "waiting for Godot" in error["details"]["output"]
    hostile.see_nothing_left(error["details"]["sandbox_id"])


@pytest.mark.promise("faults.prints")
async def test_an_agent_that_prints_a_hundred_megabytes_costs_nobody(hostile: Hostile, neighbour: dict[str, Any]) -> None:
    session = await hostile.session()
    before = traces.memory(hostile.platform.pid)
    assert await hostile.result(session, "shout", bytes=100 << 20) == 100 << 20
    log = (await hostile.platform.api.get(f"/sandboxes/{session['sandboxID']}/logs")).json()
    assert log["logs"][-1]["line"] == "the last line"
    kept = (hostile.data_dir / "sandboxes" / session["sandboxID"] / "output").stat().st_size
    assert kept < 1 << 20
    assert traces.memory(hostile.platform.pid) - before < 32 << 20
    assert traces.memory(traces.keeper(hostile.data_dir)) < 64 << 20
    await hostile.end(session)


@pytest.mark.promise("faults.memory")
async def test_an_agent_that_allocates_without_end_is_killed_at_its_limit(hostile: Hostile, neighbour: dict[str, Any]) -> None:
    session = await hostile.session()
    await needs_limit(hostile, session, "memory")
    error = assert_error(await hostile.act(session, "swell"), 502, "agent_crashed")
    assert "ran out of its 256 MiB of memory" in error["message"]
    assert "ran out of its 256 MiB of memory" in (await hostile.ended(session))["reason"]


@pytest.mark.promise("faults.forks")
async def test_an_agent_that_forks_without_end_meets_its_limit(hostile: Hostile, neighbour: dict[str, Any]) -> None:
    session = await hostile.session()
    await needs_limit(hostile, session, "processes")
    assert 0 < await hostile.result(session, "multiply") <= PROCESSES
    assert (await hostile.result(neighbour, "environment"))["argv"]
    other = await hostile.session()
    await hostile.end(session, other)


@pytest.mark.promise("faults.disk")
async def test_an_agent_that_fills_its_disk_fills_only_its_own(hostile: Hostile, neighbour: dict[str, Any]) -> None:
    session = await hostile.session()
    told = await hostile.result(session, "spill")
    assert told["errno"] == errno.ENOSPC
    assert told["written"] <= DISK
    assert (await hostile.result(neighbour, "spill"))["written"] > DISK // 2
    await hostile.end(session)


@pytest.mark.promise("faults.sigterm")
async def test_an_agent_that_ignores_every_polite_signal_is_closed_promptly(hostile: Hostile, neighbour: dict[str, Any]) -> None:
    session = await hostile.session(start="stubborn")
    known = frozenset(
        (pid, dict(traces.processes())[pid][1]) for pid in traces.children(traces.guest(hostile.data_dir, session["sandboxID"]))
    )
    assert known
    began = time.monotonic()
    await hostile.end(session)
    assert time.monotonic() - began < 5
    assert traces.living(known) == []


@pytest.mark.promise("faults.stream-cut")
async def test_a_stream_that_the_agent_cuts_is_no_clean_end(hostile: Hostile, neighbour: dict[str, Any]) -> None:
    session = await hostile.session()
    async with hostile.stream(session, "cut", code=9) as stream:
        assert not await stream.rest()
        assert b'"one"' in stream.seen
        assert b'"two"' in stream.seen
    how = await hostile.ended(session)
    assert (how["state"], how["exit_code"]) == ("failed", 9)
    assert "my last words" in how["output"]
    again = assert_error(await hostile.act(session, "count"), 502, "sandbox_gone")
    assert again["message"].startswith("The sandbox was not found")
    assert "exited with code 9" in again["message"]


@pytest.mark.promise("faults.many-at-once")
async def test_fifty_creates_at_once_answer_or_are_429(hostile: Hostile, neighbour: dict[str, Any]) -> None:
    body = {"templateID": "hostile", "metadata": {"of": "fifty"}}
    async with asyncio.timeout(100):
        replies = await asyncio.gather(*(hostile.platform.api.post("/v2/sandboxes", json=body, timeout=90) for _ in range(50)))
    made = [reply.json() for reply in replies if reply.status_code == 201]
    for reply in replies:
        if reply.status_code != 201:
            assert_error(reply, 429, "rate_limited")
            assert int(reply.headers["retry-after"]) > 0
    assert made
    answers = await asyncio.gather(*(hostile.result(session, "count") for session in made))
    assert [answer["calls"] for answer in answers] == [1] * len(made)
    listed = (await hostile.platform.api.get("/v2/sandboxes", params={"metadata": "of=fifty", "limit": 100})).json()
    assert {row["sandboxID"] for row in listed} == {session["sandboxID"] for session in made}
    await asyncio.gather(*(hostile.platform.api.delete(f"/sandboxes/{session['sandboxID']}") for session in made))
    hostile.see_nothing_left(*(session["sandboxID"] for session in made))
