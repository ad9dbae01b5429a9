"""What was reported as kept survives a power cut: of a disk is seen only what has reached it."""

# ruff: noqa: ASYNC240 (a local disk does not block for long)
from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from sandyard.domain.sandboxes import SandboxState
from sandyard.domain.templates import BuildState
from sandyard.store.conformance import a_build, a_sandbox, a_template
from sandyard.store.sqlite import SqliteStore
from support.sandboxes import rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk"),
    pytest.mark.skipif(shutil.which("mkfs.ext4", path="/usr/sbin:/sbin") is None, reason="no mkfs.ext4 here"),
]

SIZE = 256 << 20


@asynccontextmanager
async def mounted(image: Path, place: Path) -> AsyncGenerator[Path]:
    place.mkdir()
    done = await anyio.run_process(["mount", "-o", "loop", str(image), str(place)], check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts no files: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        await anyio.run_process(["umount", str(place)])


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncGenerator[Path]:
    """A disk of its own, whose power can be cut."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(SIZE)
    await anyio.run_process(["/usr/sbin/mkfs.ext4", "-q", "-E", "lazy_itable_init=1", "-O", "^resize_inode", str(image)])
    async with mounted(image, tmp_path / "disk") as place:
        yield place


@asynccontextmanager
async def after_a_power_cut(disk: Path) -> AsyncGenerator[Path]:
    """The disk as the next start of the machine finds it."""
    copy = disk.parent / "copy"
    await anyio.run_process(["cp", "--sparse=always", str(disk.parent / "image"), str(copy)])
    async with mounted(copy, disk.parent / "after") as place:
        yield place


@pytest.mark.promise("states.durable")
async def test_a_saved_sandbox(disk: Path) -> None:
    async with rig(disk) as made:
        await made.backend.start(made.spec("box"))
        await made.result("box", "import os; result = open('/home/user/kept', 'wb').write(b'kept' * 100_000)")
        (made.data / "states").mkdir()
        await made.backend.save("box", made.data / "states" / "one")
        async with after_a_power_cut(disk) as after:
            state = after / "data/states/one"
            assert (state / "state.json").stat().st_size > 0
            assert (state / "home/kept").read_bytes() == b"kept" * 100_000


@pytest.mark.promise("states.durable")
async def test_the_rows_of_templates_and_of_what_is_put_away(disk: Path) -> None:
    store = await SqliteStore.open(disk / "rows.db")
    try:
        await store.templates.add_template(a_template())
        await store.builds.add(a_build())
        await store.sandboxes.add(a_sandbox())
        await store.builds.change(a_build().id, [a_build().state], state=BuildState.DEPLOYED)
        await store.sandboxes.change(a_sandbox().id, [a_sandbox().state], state=SandboxState.PAUSED, saved=True)
        async with after_a_power_cut(disk) as after:
            found = await SqliteStore.open(after / "rows.db")
            try:
                build, sandbox = await found.builds.get(a_build().id), await found.sandboxes.get(a_sandbox().id)
                assert (build and build.state, sandbox and sandbox.saved) == (BuildState.DEPLOYED, True)
            finally:
                await found.close()
    finally:
        await store.close()
