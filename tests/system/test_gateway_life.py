"""The life of a prefab's sandbox: imports that leave threads, a server that ends, a server that is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.platform import Platform
from support.platform import run as command
from support.prefabs import KIT, call, function, kit, manifest, pack, publish, result, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

THREADED = """
import os, threading, time
LOCK = threading.Lock()
def hold():
    with LOCK:
        time.sleep(3600)
threading.Thread(target=hold, daemon=True).start()
time.sleep(0.1)
def look() -> dict:
    return {"threads": threading.active_count(), "alive": any(thread.name == "Thread-1 (hold)" for thread in threading.enumerate()), "pid": os.getpid()}
"""


@pytest.mark.promise("gateway.threads")
async def test_a_prefab_whose_import_leaves_threads_has_them_in_each_call(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        await publish(platform, pack(manifest("threaded-one", function("look")), THREADED))
        found = [(await result(platform, "threaded-one", "look"))["output"]["output"] for _ in range(3)]
        assert all(item["alive"] and item["threads"] == 2 for item in found), found
        assert len({item["pid"] for item in found}) == 3


@pytest.mark.promise("gateway.drain")
async def test_a_server_that_ends_ends_its_jobs_and_says_so(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", "--drain-timeout", "1", backend="process") as platform:
        await publish(platform, kit())
        reply = await run(platform, call(KIT, "nap", {"seconds": 60}), headers={"Prefer": "respond-async"})
        job_id = reply.json()["job_id"]
        await platform.stop()
        await platform.start()
        job = (await platform.api.get(f"/v1/jobs/{job_id}")).json()
        assert job["status"] == "CANCELLED"
        assert job["results"][0]["error"]["error_code"] == "CANCELLED"
        assert (await result(platform, KIT, "add", {"a": 1}))["status"] == "SUCCESS"


@pytest.mark.promise("gateway.room")
async def test_a_full_server_makes_room_by_ending_what_is_idle(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", "--max-sandboxes", "1", backend="process") as platform:
        assert (await command("quota", "set", "100", "--per", "ever", "--data-dir", str(platform.data_dir)))[0] == 0
        await publish(platform, kit())
        await publish(platform, pack(manifest("second-one", function("tell")), "def tell() -> dict:\n    return {'ok': True}\n"))
        for _ in range(2):
            assert (await result(platform, KIT, "add", {"a": 1}))["status"] == "SUCCESS"
            assert (await result(platform, "second-one", "tell"))["status"] == "SUCCESS"
        reply = await run(platform, call(KIT, "nap", {"seconds": 2.0}), call("second-one", "tell"))
        answer = reply.json()
        assert answer["status"] == "PARTIAL_SUCCESS"
        errors = [item["error"]["error_code"] for item in answer["results"] if item["error"]]
        assert errors == ["UNAVAILABLE"]
        usage = (await platform.api.get("/v1/usage")).json()
        assert usage["quotas"][0]["used"] == 5, "what could not be run costs nothing"
