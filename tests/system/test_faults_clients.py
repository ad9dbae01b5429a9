"""Clients that leave, crawl or ask for what is not there, on real sessions: their own loss, and nobody else's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from support import traces
from support.platform import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.hostile import Hostile

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FLAT = 32 << 20
"""Bytes by which a server's memory may change over one client."""


@pytest.fixture
async def session(hostile: Hostile) -> AsyncGenerator[dict[str, Any]]:
    made = await hostile.session()
    yield made
    await hostile.end(made)


@pytest.mark.promise("faults.client-leaves")
async def test_a_client_that_leaves_mid_stream_cancels_the_agents_work(hostile: Hostile, session: dict[str, Any]) -> None:
    async with hostile.stream(session, "ticks") as stream:
        await stream.until(b'"tick":3')

    async def was_cancelled() -> bool:
        return (await hostile.result(session, "count"))["left"] == 1

    await until(was_cancelled)
    before = (await hostile.result(session, "count"))["chunks"]
    assert (await hostile.result(session, "count"))["chunks"] == before


@pytest.mark.promise("faults.client-leaves")
async def test_a_hundred_clients_that_leave_leak_no_descriptor(hostile: Hostile, session: dict[str, Any]) -> None:
    async def come_and_go() -> None:
        async with hostile.stream(session, "ticks") as stream:
            await stream.until(b'"tick"')

    await come_and_go()
    before = traces.descriptors(hostile.platform.pid)
    for _ in range(10):
        await asyncio.gather(*(come_and_go() for _ in range(10)))

    async def all_have_left() -> bool:
        return (await hostile.result(session, "count"))["left"] == 101

    async def descriptors_are_back() -> bool:
        return traces.descriptors(hostile.platform.pid) <= before + 4  # a few kept connections to the session

    await until(all_have_left)
    await until(descriptors_are_back)


@pytest.mark.promise("faults.client-crawls")
async def test_a_client_that_reads_one_byte_at_a_time_slows_only_its_own_agent(hostile: Hostile, session: dict[str, Any]) -> None:
    other = await hostile.session()
    before = traces.memory(hostile.platform.pid)
    async with hostile.stream(session, "ticks", size=1 << 20, pause=0) as crawling:
        await crawling.until(b"HTTP/1.1 200")

        async def has_stopped() -> bool:
            chunks = (await hostile.result(session, "count"))["chunks"]
            assert await crawling.read(1)
            return (await hostile.result(session, "count"))["chunks"] == chunks

        await until(has_stopped)
        for number in range(1, 51):
            assert (await hostile.result(other, "count"))["calls"] == number
        assert (await hostile.result(session, "count"))["chunks"] < 40, "the agent ran ahead of its reader"
        assert traces.memory(hostile.platform.pid) - before < FLAT
    await hostile.end(other)


@pytest.mark.promise("faults.paused")
async def test_a_paused_session_answers_at_once_and_a_stream_through_a_pause_goes_on(hostile: Hostile, session: dict[str, Any]) -> None:
    url = f"/sandboxes/{session['sandboxID']}"
    async with hostile.stream(session, "ticks") as stream:
        await stream.until(b'"tick":3')
        assert (await hostile.platform.api.post(f"{url}/pause")).status_code == 204
        async with asyncio.timeout(10):
            reply = await hostile.act(session, "count")
        assert (reply.status_code, reply.json()["error_code"]) == (502, "sandbox_paused")
        assert session["sandboxID"] in reply.text
        assert (await hostile.platform.api.post(f"{url}/connect", json={"timeout": 60})).status_code == 201
        behind = stream.seen.count(b'"tick"')
        await stream.until(b'"tick":%d,' % (behind + 20))
    assert (await hostile.result(session, "count"))["calls"] == 1


@pytest.mark.promise("faults.time-out")
@pytest.mark.parametrize("pausing", [False, True])
async def test_a_session_whose_time_is_up_is_ended_or_paused_in_the_middle_of_a_stream(hostile: Hostile, pausing: bool) -> None:
    session = await hostile.session(timeout=1, autoPause=pausing)
    async with hostile.stream(session, "ticks") as stream:
        await stream.until(b'"tick":3')
        if not pausing:
            assert not await stream.rest()
            assert (await hostile.ended(session))["reason"] == "Its time was up"
            return

        async def is_paused() -> bool:
            return (await hostile.platform.api.get(f"/sandboxes/{session['sandboxID']}")).json()["state"] == "paused"

        await until(is_paused)
        await hostile.platform.api.post(f"/sandboxes/{session['sandboxID']}/connect", json={"timeout": 60})
        behind = stream.seen.count(b'"tick"')
        await stream.until(b'"tick":%d,' % (behind + 20))
    assert (await hostile.result(session, "count"))["chunks"] > behind
    await hostile.end(session)


@pytest.mark.promise("faults.wrong-door")
async def test_what_is_not_there_is_said_with_whose_and_the_request_id(hostile: Hostile, session: dict[str, Any]) -> None:
    closed = await hostile.platform.call(session, port=9)
    unknown = await hostile.platform.call({**session, "sandboxID": "s0"})
    stranger = await hostile.platform.call({**session, "envdAccessToken": "nonsense"})
    outside = await hostile.platform.call(session, headers={"PPIO-Sandbox-Port": "70000"})
    broken = await hostile.platform.call(session, "/invocations", method="POST", content=b'{"act": ')
    large = await hostile.platform.call(session, "/invocations", method="POST", content=bytes(101 << 20))
    for reply, status, said in (
        (closed, 502, "port is not open"),
        (unknown, 502, "The sandbox was not found"),
        (stranger, 401, "token"),
        (outside, 400, "port"),
        (large, 413, str(100 << 20)),
    ):
        assert reply.status_code == status, reply.text
        assert said in reply.json()["message"]
        assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert closed.json()["details"] == {"port": 9}
    assert (broken.status_code, broken.json()["status"]) == (400, "error")
    assert (await hostile.result(session, "count"))["calls"] == 1
