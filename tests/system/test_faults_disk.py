"""A full disk under the data directory: new things are refused in a sentence, what runs goes on, and once there is room all works."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import anyio
import pytest

from support import traces
from support.hostile import OPTIONS, SOURCE, Hostile
from support.packages import pack, write_agent
from support.platform import Platform, PlatformEnded, until
from support.sandboxes import until_gone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system"),
]


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Hostile]:
    """A platform whose data directory lies on a file system of 256 MiB."""
    root = tmp_path_factory.mktemp("small")
    disk = root / "disk"
    disk.mkdir()
    await anyio.run_process(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(disk)])
    try:
        async with Platform(disk / "data", *OPTIONS, backend="process") as platform:
            made = Hostile(platform)
            await made.deploy(root / "agent")
            yield made
    finally:
        await anyio.run_process(["umount", str(disk)])


class Filler:
    """A file that takes all the room there is, to the last byte."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "filler"

    def __enter__(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017 (that it is full is what we want)

    def __exit__(self, *_: object) -> None:
        self._path.unlink()


@pytest.mark.promise("faults.full-disk")
async def test_creates_and_uploads_are_refused_and_running_sessions_answer(small: Hostile, tmp_path: Path) -> None:
    session, watched = await small.session(), await small.session()
    before = traces.sandbox_dirs(small.data_dir)
    package = pack(write_agent(tmp_path / "agent", "late", SOURCE))
    with Filler(small.data_dir.parent):
        create = await small.platform.api.post("/v2/sandboxes", json={"templateID": "hostile"})
        upload = await small.platform.api.post("/agents", content=package)
        for reply in (create, upload):
            assert reply.status_code in (503, 507), reply.text
            assert reply.json()["error_code"] in ("unavailable", "storage_full")
            assert "disk" in reply.json()["message"]
            assert reply.json()["request_id"] == reply.headers["x-request-id"]
        assert (await small.result(session, "count"))["calls"] == 1
        async with small.stream(session, "ticks") as stream:
            await stream.until(b'"tick":20')
        assert (await small.platform.api.get(f"/sandboxes/{session['sandboxID']}")).status_code == 200
    assert traces.sandbox_dirs(small.data_dir) == before
    assert (await small.result(session, "count"))["calls"] == 2
    await small.deploy(tmp_path / "again", "late")
    fresh = await small.session()
    await small.end(session, watched, fresh)


@pytest.mark.promise("faults.full-disk")
async def test_ends_and_time_outs_that_could_not_be_written_are_made_good(small: Hostile) -> None:
    dies, expires, lives = await small.session(), await small.session(timeout=2), await small.session()
    firsts = [traces.guest(small.data_dir, session["sandboxID"]) for session in (dies, expires)]
    with Filler(small.data_dir.parent):  # the log lies there, too
        async with small.stream(dies, "cut", code=9) as stream:
            assert not await stream.rest()
        for pid in firsts:
            await until_gone(pid)
        assert (await small.act(dies, "count")).status_code == 502
        assert (await small.act(expires, "count")).status_code == 502
        assert (await small.result(lives, "count"))["calls"] == 1
    how = await small.ended(dies)
    assert (how["state"], how["exit_code"]) == ("failed", 9)
    assert "my last words" in how["output"]
    assert "time" in (await small.ended(expires))["reason"]
    assert (await small.result(lives, "count"))["calls"] == 2
    await small.end(dies, expires, lives)


@pytest.mark.promise("faults.full-disk")
async def test_a_build_that_runs_out_of_disk_ends_with_a_reason(small: Hostile, tmp_path: Path) -> None:
    lives = await small.session()
    reply = await small.platform.api.post("/agents", content=pack(write_agent(tmp_path / "agent", "halfway", SOURCE)))
    assert reply.status_code == 202, reply.text
    deployed = reply.json()
    venv = small.data_dir / "builds" / deployed["buildID"] / "venv"

    async def installs() -> bool:
        return venv.exists()

    async def has_given_up() -> bool:
        return not venv.exists()

    await until(installs)
    with Filler(small.data_dir.parent):
        await until(has_given_up, 60)
        assert (await small.result(lives, "count"))["calls"] == 1
    async with asyncio.timeout(60):
        status = await small.platform.follow(deployed["templateID"], deployed["buildID"])
    assert status["status"] == "error"
    assert "disk" in status["reason"]["message"] or "space" in status["reason"]["message"]
    await small.deploy(tmp_path / "again", "halfway")
    await small.end(lives)


@pytest.mark.promise("faults.full-disk")
async def test_a_server_that_starts_on_a_full_disk_says_so_and_loses_no_session(small: Hostile, tmp_path: Path) -> None:
    session, log = await small.session(timeout=300), small.platform.log
    assert (await small.result(session, "count"))["calls"] == 1
    await small.platform.kill9()
    small.platform.log = tmp_path / "serve.log"
    try:
        with Filler(small.data_dir.parent), pytest.raises(PlatformEnded, match="disk is full; free some space"):
            await small.platform.start()
    finally:
        small.platform.log = log
        await small.platform.start()
    assert (await small.result(session, "count"))["calls"] == 2
    await small.end(session)
