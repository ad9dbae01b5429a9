"""kill -9 of the server while calls run: afterwards every job has a stated outcome, and nothing is half there."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.platform import Platform
from support.platform import run as command
from support.prefabs import KIT, call, kit, publish, result, run, upload

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

RUNNING = 200


@pytest.mark.slow
@pytest.mark.promise("gateway.kill9")
async def test_every_job_ends_in_a_stated_outcome(tmp_path: Path) -> None:
    options = ("--parallel-calls", "210", "--memory", "2Gi")  # room for those that ask, beside the RUNNING
    async with Platform(tmp_path / "data", *options, backend="process") as platform:
        await publish(platform, kit())
        quota = ("quota", "set", "1000", "--per", "ever", "--data-dir", str(platform.data_dir))
        assert (await command(*quota))[0] == 0
        later = {"Prefer": "respond-async"}
        done = (await run(platform, call(KIT, "add", {"a": 1}), headers=later | {"Idempotency-Key": "before"})).json()["job_id"]
        naps = [call(KIT, "nap", {"seconds": 240.0})] * 25
        replies = await asyncio.gather(*[run(platform, *naps, headers=later | {"Idempotency-Key": f"k{n}"}) for n in range(RUNNING // 25)])
        jobs = [reply.json()["job_id"] for reply in replies]
        asked = 1
        async with asyncio.timeout(90):
            while (await platform.api.get(f"/v1/jobs/{done}")).json()["status"] == "RUNNING":  # noqa: ASYNC110 (what is asked lives in another process)
                await asyncio.sleep(0.1)
            while (await result(platform, KIT, "processes"))["output"]["output"]["count"] < RUNNING:
                asked += 1
                await asyncio.sleep(0.2)
            assert await used(platform) >= RUNNING
            writing = asyncio.create_task(run(platform, call(KIT, "write_files", {"names": [f"{n}" for n in range(900)]})))
            while not files_of(platform):  # noqa: ASYNC110 (what is asked lives in another process)
                await asyncio.sleep(0.01)
        await platform.kill9()
        await asyncio.wait([writing])
        assert writing.exception() is not None or writing.result().status_code == 200
        await platform.restart()
        for job_id in jobs:
            job = (await platform.api.get(f"/v1/jobs/{job_id}")).json()
            assert job["status"] == "FAILED"
            assert [item["error"]["error_code"] for item in job["results"]] == ["INTERRUPTED"] * 25
        assert (await platform.api.get(f"/v1/jobs/{done}")).json()["status"] == "COMPLETED"
        assert await used(platform) <= asked + 2, "reservations of the dead server are still held"
        assert not list((platform.data_dir / "blobs").rglob("*#*")), "a file is half there"
        found = files_of(platform)
        assert "writing" not in {state for state, _, _ in found}
        assert all(size == len(f"content of {name}") for state, size, name in found if state == "ready"), "a file is half there"
        again = await run(platform, *naps, headers={"Idempotency-Key": "k0"} | later)
        assert again.json()["status"] == "FAILED"
        fresh = await result(platform, KIT, "processes")
        assert fresh["output"]["output"]["count"] < 10, "the calls of the dead server still run"


async def used(platform: Platform) -> int:
    """Return how many calls the tenant's one quota has counted."""
    return (await platform.api.get("/v1/usage")).json()["quotas"][0]["used"]


def files_of(platform: Platform) -> list[tuple[str, int, str]]:
    """Return state, size and name of each file that the platform knows."""
    with closing(sqlite3.connect(platform.data_dir / "sandyard.db", timeout=10)) as rows:
        return rows.execute("SELECT state, size, name FROM files").fetchall()


@pytest.mark.promise("gateway.kill9")
async def test_a_build_goes_on_after_a_kill(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        reply = await upload(platform, kit())
        assert reply.status_code == 202
        (platform.data_dir / "prefabs" / "p-left-over").mkdir()
        await platform.restart()
        await publish(platform, kit())
        assert (await result(platform, KIT, "add", {"a": 1}))["status"] == "SUCCESS"
        assert not (platform.data_dir / "prefabs" / "p-left-over").exists()
