"""`kill -9` of the server loses no sandbox; a server that ends for good leaves nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from support import traces
from support.packages import ECHO, write_agent
from support.platform import Platform, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


@pytest.mark.promise("serve.adoption")
async def test_sandboxes_survive_kill_9_of_the_server_with_their_memory(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        await platform.deploy(write_agent(tmp_path / "echo"))
        runs = await platform.create("echo", timeout=300)
        sleeps = await platform.create("echo", timeout=300)
        first = (await platform.call(runs)).json()["calls"]
        slept = (await platform.call(sleeps)).json()["calls"]
        await platform.api.post(f"/sandboxes/{sleeps['sandboxID']}/pause")
        await platform.restart()
        states = {row["sandboxID"]: row["state"] for row in (await platform.api.get("/v2/sandboxes")).json()}
        assert states == {runs["sandboxID"]: "running", sleeps["sandboxID"]: "paused"}
        assert (await platform.call(runs)).json()["calls"] == first + 1
        assert (await platform.call(sleeps)).status_code == 502
        assert (await platform.api.post(f"/sandboxes/{sleeps['sandboxID']}/connect", json={})).status_code == 201
        assert (await platform.call(sleeps)).json()["calls"] == slept + 1


@pytest.mark.promise("serve.leaves-nothing")
async def test_sigterm_leaves_no_process_no_mount_and_no_directory(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        await platform.deploy(write_agent(tmp_path / "echo"))
        for _ in range(3):
            await platform.create("echo")
        await platform.kill9()
        known = traces.family(tmp_path / "data")
        assert known
        await platform.start()
        await platform.stop()
        assert traces.living(known | traces.family(tmp_path / "data")) == []
        assert names_in(platform.data_dir / "sandboxes") == []
        assert traces.mounts(tmp_path / "data") == []


@pytest.mark.promise("serve.adoption")
async def test_an_agent_that_dies_is_failed_with_its_exit_code_and_last_lines(process_platform: Platform, tmp_path: Path) -> None:
    source = ECHO.replace("raise SystemExit(3)", "import os; print('goodbye', flush=True); os._exit(3)")
    await process_platform.deploy(write_agent(tmp_path / "mortal", "mortal", source))
    sandbox = await process_platform.create("mortal")
    reply = await process_platform.call(sandbox, "/end")
    assert (reply.status_code, reply.json()["error_code"]) == (502, "agent_crashed")
    details = (await process_platform.api.get(f"/sandboxes/{sandbox['sandboxID']}")).json()["details"]
    assert (details["state"], details["exit_code"]) == ("failed", 3)
    assert "goodbye" in details["output"]
    assert (await process_platform.call(sandbox)).json()["details"]["exit_code"] == 3


@pytest.mark.promise("serve.adoption", "serve.leaves-nothing")
async def test_a_create_that_a_killed_server_left_is_failed_and_leaves_nothing(tmp_path: Path) -> None:
    source = "import os, time\nif os.environ.get('SLOW'): time.sleep(30)\n" + ECHO
    async with Platform(tmp_path / "data", backend="process") as platform:
        await platform.deploy(write_agent(tmp_path / "slow", "slow", source))
        create = asyncio.ensure_future(
            platform.api.post("/v2/sandboxes", json={"templateID": "slow", "envVars": {"SLOW": "1"}}, headers={"Idempotency-Key": "slow-1"})
        )

        async def has_begun() -> bool:
            return names_in(platform.data_dir / "sandboxes") != []

        await until(has_begun)
        await platform.kill9()
        with pytest.raises(httpx.HTTPError):
            await create
        await platform.start()
        assert (await platform.api.get("/v2/sandboxes")).json() == []
        assert names_in(platform.data_dir / "sandboxes") == []
        again = await platform.api.post("/v2/sandboxes", json={"templateID": "slow"}, headers={"Idempotency-Key": "slow-1"})
        assert again.status_code == 201
        assert (await platform.call(again.json())).status_code == 200
