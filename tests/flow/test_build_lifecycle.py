"""Builds as their owners see them: immutable, tagged, followed line by line, failed with a reason."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import pytest

from support.packages import ECHO, manifest, pack, pack_members, write_agent
from support.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.mark.promise("build.tags")
async def test_a_new_build_moves_its_tags_and_leaves_the_old_build_as_it_was(platform: Platform, tmp_path: Path) -> None:
    first = await platform.deploy(write_agent(tmp_path / "one", "tagged"), tags="latest,v1")
    second = await platform.deploy(
        write_agent(tmp_path / "two", "tagged", ECHO.replace('"calls": calls', '"two": calls')), tags="latest,v2"
    )
    assert first["templateID"] == second["templateID"]
    info = (await platform.api.get("/templates/tagged")).json()
    assert info["buildID"] == second["buildID"]
    assert set(info["buildTags"]) == {"latest", "v1", "v2"}
    assert (await platform.api.get("/templates/tagged:v1")).json()["buildID"] == first["buildID"]
    for name, key in (("tagged", "two"), ("tagged:v2", "two"), ("tagged:v1", "calls"), (info["templateID"], "two")):
        sandbox = await platform.create(name)
        assert key in (await platform.call(sandbox)).json()
        await platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")


@pytest.mark.promise("build.logs")
async def test_a_build_is_followed_to_its_end_and_read_again_later(platform: Platform, tmp_path: Path) -> None:
    status = await platform.deploy(write_agent(tmp_path / "logged", "logged"))
    assert status["lines"][-1] == "Deployed"
    url = f"/templates/logged/builds/{status['buildID']}"
    again = (await platform.api.get(f"{url}/status", params={"logsOffset": 1})).json()
    assert again["phase"] == "deployed"
    assert again["logs"] == status["lines"][1:]
    assert [entry["number"] for entry in again["logEntries"]] == list(range(1, len(status["lines"])))
    assert [entry["message"] for entry in (await platform.api.get(f"{url}/logs")).json()] == status["lines"]


@pytest.mark.promise("build.failures")
async def test_an_agent_that_ends_at_its_start_fails_the_build_and_is_not_started(platform: Platform, tmp_path: Path) -> None:
    status = await platform.deploy(write_agent(tmp_path / "broken", "broken", "import no_such_module"), expect="error")
    assert "did not start" in status["reason"]["message"]
    info = (await platform.api.get("/templates/broken")).json()
    assert info["phase"] == "failed"
    reply = await platform.api.post("/sandboxes", json={"templateID": "broken"})
    assert (reply.status_code, reply.json()["error_code"]) == (409, "template_not_ready")
    assert "did not start" in reply.json()["message"]


@pytest.mark.promise("build.failures")
async def test_an_agent_whose_ping_is_not_200_fails_the_build(platform: Platform, tmp_path: Path) -> None:
    source = ECHO.replace('"status": 200', '"status": 503')
    status = await platform.deploy(write_agent(tmp_path / "ill", "ill", source), expect="error")
    assert "answered 503" in status["reason"]["message"]


@pytest.mark.promise("build.failures")
async def test_a_failed_build_leaves_the_deployed_one_in_place(platform: Platform, tmp_path: Path) -> None:
    good = await platform.deploy(write_agent(tmp_path / "good", "steady"))
    await platform.deploy(write_agent(tmp_path / "bad", "steady", "raise SystemExit(1)"), expect="error")
    assert (await platform.api.get("/templates/steady")).json()["buildID"] == good["buildID"]
    sandbox = await platform.create("steady")
    await platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")


@pytest.mark.promise("build.delete")
async def test_a_template_is_deleted_once_nothing_of_it_lives(platform: Platform, tmp_path: Path) -> None:
    status = await platform.deploy(write_agent(tmp_path / "brief", "brief"))
    sandbox = await platform.create("brief")
    assert (await platform.api.delete("/templates/brief")).status_code == 409
    await platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")
    assert (await platform.api.delete("/templates/brief")).status_code == 204
    assert (await platform.api.get("/templates/brief")).status_code == 404
    assert not (platform.data_dir / "builds" / status["buildID"]).exists()


@pytest.mark.promise("build.restart")
async def test_a_build_that_a_killed_server_left_is_built_by_the_next(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    source = f"import pathlib, time\nwhile pathlib.Path({str(gate)!r}).exists(): time.sleep(0.05)\n" + ECHO
    async with Platform(tmp_path / "data") as own:
        reply = await own.api.post("/agents", content=pack(write_agent(tmp_path / "stuck", "stuck", source)))
        deployment = reply.json()
        async with own.api.stream("GET", f"/templates/stuck/builds/{deployment['buildID']}/logs?follow=true") as log:
            async for line in log.aiter_lines():
                if "Starting the agent once" in line:
                    break
        await own.kill9()
        gate.unlink()
        await own.start()
        status = await own.follow(deployment["templateID"], deployment["buildID"])
        assert status["status"] == "ready", status


@pytest.mark.promise("build.failures")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
async def test_a_full_disk_refuses_the_upload_and_the_platform_goes_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    await anyio.Path(disk).mkdir()
    await anyio.run_process(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)])
    try:
        async with Platform(disk / "data") as platform:
            big = pack_members({"agent.yaml": manifest("big").encode(), "agent.py": ECHO.encode(), "noise": os.urandom(16 * 1024**2)})
            reply = await platform.api.post("/agents", content=big)
            assert (reply.status_code, reply.json()["error_code"]) == (507, "storage_full"), reply.text
            assert not any([path async for path in anyio.Path(platform.data_dir / "builds").iterdir()])
            await platform.deploy(write_agent(tmp_path / "small", "small"))
            sandbox = await platform.create("small")
            assert (await platform.call(sandbox)).status_code == 200
    finally:
        await anyio.run_process(["umount", str(disk)])


@pytest.mark.promise("build.swept")
async def test_what_a_killed_server_left_of_an_upload_is_swept_away(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data") as platform:
        kept = await platform.deploy(write_agent(tmp_path / "echo"))
        await platform.kill9()
        await anyio.Path(platform.data_dir / "builds" / "bhalf" / "app").mkdir(parents=True)
        packages = anyio.Path(platform.data_dir / "blobs" / "packages")
        await (packages / "bhalf.tar.gz").write_bytes(b"stored, but no row says so")
        await platform.start()
        assert [path.name async for path in anyio.Path(platform.data_dir / "builds").iterdir()] == [kept["buildID"]]
        assert [path.name async for path in packages.iterdir()] == [f"{kept['buildID']}.tar.gz"]
        sandbox = await platform.create("echo")
        assert (await platform.call(sandbox)).status_code == 200
