"""`kill -9` of whatever there is, at the worst moment: the caller sees why, or the session goes on with its memory."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from support import traces
from support.hostile import OPTIONS, Hostile
from support.platform import Platform, until
from support.sandboxes import until_gone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    import httpx

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

INSIDE: dict[str, Callable[[Path, str], int]] = {"guest": traces.guest, "agent": traces.agent}


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Hostile]:
    """A platform that may be killed."""
    root = tmp_path_factory.mktemp("killed")
    async with Platform(root / "data", *OPTIONS, backend="process") as platform:
        made = Hostile(platform)
        await made.deploy(root / "agent")
        yield made


async def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)


async def pause(hostile: Hostile, session: dict[str, Any]) -> None:
    assert (await hostile.platform.api.post(f"/sandboxes/{session['sandboxID']}/pause")).status_code == 204


async def resume(hostile: Hostile, session: dict[str, Any]) -> httpx.Response:
    return await hostile.platform.api.post(f"/sandboxes/{session['sandboxID']}/connect", json={"timeout": 60})


def see_why(how: dict[str, Any], victim: str) -> None:
    assert how["state"] == "failed"
    assert ("first process was killed" if victim == "guest" else "killed by signal 9 (SIGKILL)") in how["reason"]


@pytest.mark.promise("faults.killed-inside")
@pytest.mark.parametrize("victim", INSIDE)
async def test_a_sandbox_killed_in_a_call_answers_why(hostile: Hostile, victim: str) -> None:
    session, neighbour = await hostile.session(), await hostile.session()
    call = asyncio.ensure_future(hostile.act(session, "wait"))

    async def waits() -> bool:
        return "waiting" in await hostile.result(session, "count")

    await until(waits)
    await kill(INSIDE[victim](hostile.data_dir, session["sandboxID"]))
    reply = await call
    assert (reply.status_code, reply.json()["error_code"]) == (502, "agent_crashed"), reply.text
    see_why(await hostile.ended(session), victim)
    assert (await hostile.result(neighbour, "count"))["calls"] == 1
    await hostile.end(session, neighbour)


@pytest.mark.promise("faults.killed-inside")
@pytest.mark.parametrize("victim", INSIDE)
async def test_a_sandbox_killed_in_a_stream_is_no_clean_end(hostile: Hostile, victim: str) -> None:
    session = await hostile.session()
    async with hostile.stream(session, "ticks") as stream:
        await stream.until(b'"tick":3')
        await kill(INSIDE[victim](hostile.data_dir, session["sandboxID"]))
        assert not await stream.rest()
    see_why(await hostile.ended(session), victim)


@pytest.mark.promise("faults.killed-inside")
@pytest.mark.parametrize("victim", INSIDE)
async def test_a_sandbox_killed_while_it_is_paused_says_so(hostile: Hostile, victim: str) -> None:
    session = await hostile.session()
    await pause(hostile, session)
    os.kill(INSIDE[victim](hostile.data_dir, session["sandboxID"]), signal.SIGKILL)
    reply = await resume(hostile, session)
    if reply.status_code == 201:  # the kernel may kill a frozen process only when it thaws
        reply = await hostile.act(session, "count")
        assert reply.status_code == 502, reply.text
    see_why(await hostile.ended(session), victim)


@pytest.mark.promise("faults.killed-inside")
@pytest.mark.parametrize("victim", INSIDE)
async def test_a_sandbox_killed_at_its_start_fails_the_create(hostile: Hostile, victim: str) -> None:
    before = traces.sandbox_dirs(hostile.data_dir)
    create = asyncio.ensure_future(hostile.platform.api.post("/v2/sandboxes", json={"templateID": "hostile", "envVars": {"START": "slow"}}))
    found: list[int] = []

    async def runs() -> bool:
        for name in traces.sandbox_dirs(hostile.data_dir) - before:
            try:
                found.append(INSIDE[victim](hostile.data_dir, name))
            except (OSError, ValueError, TypeError):  # no record yet, or no agent
                return False
        return bool(found)

    await until(runs)
    await kill(found[0])
    reply = await create
    assert (reply.status_code, reply.json()["error_code"]) == (424, "agent_failed"), reply.text
    details = reply.json()["details"]
    see_why((await hostile.platform.api.get(f"/sandboxes/{details['sandbox_id']}")).json()["details"], victim)
    hostile.see_nothing_left(details["sandbox_id"])


@pytest.mark.promise("faults.killed-keeper")
async def test_a_killed_keeper_cuts_no_stream_and_loses_no_session(own: Hostile) -> None:
    session, paused = await own.session(), await own.session()
    assert (await own.result(paused, "count"))["calls"] == 1
    await pause(own, paused)
    async with own.stream(session, "ticks") as stream:
        await stream.until(b'"tick":3')
        await kill(traces.keeper(own.data_dir))
        await stream.until(b'"tick":%d,' % (stream.seen.count(b'"tick"') + 20))
    assert (await resume(own, paused)).status_code == 201
    assert (await own.result(paused, "count"))["calls"] == 2
    fresh = await own.session()
    await own.end(session, paused, fresh)


@pytest.mark.promise("faults.killed-keeper")
async def test_a_create_under_way_survives_the_keeper_or_says_why(own: Hostile) -> None:
    known = traces.sandbox_dirs(own.data_dir)
    create = asyncio.ensure_future(own.platform.api.post("/v2/sandboxes", json={"templateID": "hostile"}))

    async def has_begun() -> bool:
        return bool(traces.sandbox_dirs(own.data_dir) - known) or create.done()

    await until(has_begun)
    await kill(traces.keeper(own.data_dir))
    reply = await create
    if reply.status_code == 201:
        assert (await own.result(reply.json(), "count"))["calls"] == 1
        await own.end(reply.json())
    else:
        assert reply.status_code == 503, reply.text
        assert reply.json()["error_code"] == "unavailable"
        assert int(reply.headers["retry-after"]) > 0
        again = await own.session()
        await own.end(again)

    async def nothing_is_left() -> bool:
        return traces.sandbox_dirs(own.data_dir) == known

    await until(nothing_is_left)


@pytest.mark.promise("faults.killed-server")
@pytest.mark.parametrize("keeper_too", [False, True])
async def test_a_killed_server_cuts_its_streams_and_loses_no_session(own: Hostile, keeper_too: bool) -> None:
    session, paused = await own.session(timeout=300), await own.session(timeout=300)
    assert (await own.result(session, "count"))["calls"] == 1
    assert (await own.result(paused, "count"))["calls"] == 1
    await pause(own, paused)
    keeper = traces.keeper(own.data_dir)
    async with own.stream(session, "ticks") as stream:
        await stream.until(b'"tick":3')
        await own.platform.kill9()
        assert not await stream.rest()
    if keeper_too:
        await kill(keeper)
    await own.platform.start()
    reply = await own.act(paused, "count")
    assert (reply.status_code, reply.json()["error_code"]) == (502, "sandbox_paused")
    assert (await resume(own, paused)).status_code == 201
    assert (await own.result(paused, "count"))["calls"] == 2

    async def was_cancelled() -> bool:
        return (await own.result(session, "count"))["left"] == 1

    await until(was_cancelled)
    assert (await own.result(session, "count"))["calls"] > 1
    await own.end(session, paused)


@pytest.mark.promise("faults.killed-server")
@pytest.mark.parametrize("victim", INSIDE)
async def test_what_died_while_no_server_ran_is_told_by_the_next(own: Hostile, victim: str) -> None:
    session = await own.session(timeout=300)
    pid = INSIDE[victim](own.data_dir, session["sandboxID"])
    await own.platform.kill9()
    await kill(pid)
    await own.platform.start()
    see_why(await own.ended(session), victim)
