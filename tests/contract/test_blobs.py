"""Blobs in a directory and in memory, held by the suite that ships with the port."""

from __future__ import annotations

import asyncio
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sandyard.blobs import ObjectBlobs
from sandyard.blobs.conformance import CASES, run_case, stream
from sandyard.domain.errors import StoreUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.promise("store.blobs_whole")]

CHILD = Path(__file__).with_name("blobs_child.py")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("place", ["directory", "memory"])
async def test_blobs(case: str, place: str, tmp_path: Path) -> None:
    await run_case(CASES[case], ObjectBlobs.memory() if place == "memory" else ObjectBlobs.local(tmp_path / "blobs"))


def files(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.is_file()]


async def test_the_directory_is_closed_to_others(tmp_path: Path) -> None:
    ObjectBlobs.local(tmp_path / "blobs")
    assert stat.S_IMODE((tmp_path / "blobs").stat().st_mode) == 0o700


async def test_a_put_that_failed_leaves_no_file(tmp_path: Path) -> None:
    blobs = ObjectBlobs.local(tmp_path)
    with pytest.raises(ValueError, match="left"):
        await blobs.put("a/b", stream([b"x" * 1_000_000] * 5, ValueError("left")))
    assert files(tmp_path) == []


async def test_what_a_killed_server_was_writing_is_removed(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, CHILD, "hang", tmp_path, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    async with asyncio.timeout(30):
        assert await child.stdout.readline() == b"half\n"
        child.kill()
        await child.wait()
    assert len(files(tmp_path)) == 1
    ObjectBlobs.local(tmp_path)
    assert files(tmp_path) == []


async def test_large_blobs_take_constant_memory(tmp_path: Path) -> None:
    blobs = ObjectBlobs.local(tmp_path)
    piece = b"x" * 1_000_000
    await blobs.put("warm", stream([piece] * 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await blobs.put("a", stream(piece for _ in range(300))) == 300_000_000
    assert sum([len(chunk) async for chunk in blobs.get("a")]) == 300_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB


@pytest.mark.promise("store.full_disk")
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    script = f"mount -t tmpfs -o size=4m tmpfs {tmp_path} && exec {sys.executable} {CHILD} fill {tmp_path}"
    run = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    if "unshare" in run.stderr or "mount:" in run.stderr:
        pytest.skip(f"no small file system can be made here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    assert run.stdout == "full\nkept\n"


async def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        ObjectBlobs.local(tmp_path / "file" / "blobs")
