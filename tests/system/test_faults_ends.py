"""The end for good, and secrets: what is left on the machine, and what an agent could have learnt meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from support import traces
from support.hostile import OPTIONS, Hostile
from support.platform import Platform, PlatformEnded

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.mark.promise("faults.nothing-left")
async def test_sigterm_in_the_middle_of_everything_leaves_nothing(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", *OPTIONS, "--drain-timeout", "1", backend="process") as platform:
        own = Hostile(platform)
        await own.deploy(tmp_path / "agent")
        sessions = [await own.session(start=start) for start in ("", "", "stubborn", "")]
        ids = [session["sandboxID"] for session in sessions]
        assert (await platform.api.post(f"/sandboxes/{ids[1]}/pause")).status_code == 204
        assert await own.result(sessions[3], "multiply") > 0
        begun = traces.sandbox_dirs(own.data_dir)
        create = asyncio.ensure_future(platform.api.post("/v2/sandboxes", json={"templateID": "hostile", "envVars": {"START": "slow"}}))
        async with asyncio.timeout(20), own.stream(sessions[0], "ticks") as stream:
            while not (new := traces.sandbox_dirs(own.data_dir) - begun):
                assert await stream.read()
            known = traces.family(own.data_dir)
            assert len(known) > len(ids) * 2
            began = time.monotonic()
            await platform.stop()
            assert time.monotonic() - began < 15
            assert not await stream.rest()
        await asyncio.wait([create])
        assert create.exception() is not None or create.result().status_code in (424, 503)
        assert traces.living(known) == []
        assert traces.mounts(own.data_dir) == []
        assert traces.control_groups([*ids, *new]) == []
        assert traces.sandbox_dirs(own.data_dir) == set()
        assert sorted(entry.name for entry in own.data_dir.iterdir() if entry.is_socket()) == []


@pytest.mark.promise("faults.secrets")
async def test_no_secret_of_the_platform_is_anywhere_that_an_agent_or_a_log_reader_looks(hostile: Hostile) -> None:
    session = await hostile.session()
    reply = await hostile.platform.call(
        session,
        "/invocations",
        method="POST",
        json={"act": "environment"},
        headers={"X-API-Key": hostile.platform.key, "Authorization": f"Bearer {hostile.platform.env['E2B_API_KEY']}"},
    )
    assert reply.status_code == 200, reply.text
    secrets = [hostile.platform.key.removeprefix("sk-"), session["envdAccessToken"]]
    lines = "\n".join(traces.command_line(pid) for pid, _ in traces.processes())
    for secret in secrets:
        assert secret not in reply.text
        assert secret not in json.dumps(dict(reply.headers))
        assert secret not in hostile.platform.log.read_text()
        assert secret not in lines
    assert str(hostile.data_dir) not in json.dumps(reply.json()["result"]["environ"])
    await hostile.end(session)


@pytest.mark.promise("faults.one-server")
async def test_a_second_server_is_refused_and_disturbs_no_session(hostile: Hostile) -> None:
    session = await hostile.session()
    async with hostile.stream(session, "ticks") as stream:
        await stream.until(b'"tick":3')
        second = Platform(hostile.data_dir, *OPTIONS, backend="process")
        second.log = hostile.data_dir.with_name("second.log")
        with pytest.raises(PlatformEnded, match=f"{os.fspath(hostile.data_dir)}"):
            await second.start()
        await stream.until(b'"tick":%d,' % (stream.seen.count(b'"tick"') + 20))
    assert (await hostile.result(session, "count"))["calls"] == 1
    await hostile.end(session)
