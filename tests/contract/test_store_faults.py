"""The store when the server is killed, the disk full, the file newer, damaged or not ours."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sandyard.domain.errors import StoreUnavailable
from sandyard.store import SqliteStore
from sandyard.store.conformance import a_sandbox

pytestmark = pytest.mark.anyio

CHILD = Path(__file__).with_name("store_child.py")


@pytest.mark.promise("store.acknowledged_rows_survive")
async def test_a_killed_server_loses_no_acknowledged_row(tmp_path: Path) -> None:
    path = tmp_path / "sandyard.db"
    child = await asyncio.create_subprocess_exec(sys.executable, CHILD, "write", path, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    acknowledged: list[str] = []
    async with asyncio.timeout(30):
        while len(acknowledged) < 500:
            acknowledged.append((await child.stdout.readline()).decode().strip())
        child.kill()
        acknowledged += [line for line in (await child.stdout.read()).decode().splitlines(keepends=True) if line.endswith("\n")]
        await child.wait()
    store = await SqliteStore.open(path)
    kept = {row.id for row in await store.sandboxes.list(limit=1_000_000)}
    await store.close()
    assert {line.strip() for line in acknowledged} <= kept


@pytest.mark.promise("store.full_disk")
def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    script = f"mount -t tmpfs -o size=1m tmpfs {tmp_path} && exec {sys.executable} {CHILD} fill {tmp_path}/sandyard.db"
    run = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    if "unshare" in run.stderr or "mount:" in run.stderr:
        pytest.skip(f"no small file system can be made here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    assert "disk is full" in run.stderr
    *acknowledged, after = run.stdout.splitlines()
    assert acknowledged
    assert after == f"after {len(acknowledged) + 1}"


@pytest.mark.promise("store.newer_database")
async def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sandyard.db"
    await (await SqliteStore.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"newer sandyard \(schema 999, this program knows \d+\)"):
        await SqliteStore.open(path)
    assert path.read_bytes() == before


async def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sandyard.db"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreUnavailable, match="is damaged"):
        await SqliteStore.open(path)


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        await SqliteStore.open(tmp_path / "absent" / "sandyard.db")
    (tmp_path / "directory").mkdir()
    with pytest.raises(StoreUnavailable, match="Is a directory"):
        await SqliteStore.open(tmp_path / "directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sandyard.db"
    await (await SqliteStore.open(path)).close()
    path.chmod(0o400)
    with pytest.raises(StoreUnavailable, match="cannot be written; check the owner and the mode"):
        await SqliteStore.open(path)


async def test_a_database_that_another_program_holds_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "sandyard.db"
    store = await SqliteStore.open(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    adding = asyncio.create_task(store.sandboxes.add(a_sandbox()))
    done, _ = await asyncio.wait({adding}, timeout=0.2)
    assert not done
    assert await store.sandboxes.get("s0") is None
    other.execute("ROLLBACK")
    other.close()
    await adding
    assert await store.sandboxes.get("s0") == a_sandbox()
    await store.close()


async def test_a_caller_that_leaves_does_not_disturb_the_others(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "sandyard.db")
    tasks = [asyncio.create_task(store.sandboxes.add(a_sandbox(number))) for number in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1::2] == [None] * 25
    assert {f"s{number}" for number in range(1, 50, 2)} <= {row.id for row in await store.sandboxes.list()}
    await store.close()


async def test_two_servers_open_a_new_database_at_once(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(SqliteStore.open(tmp_path / "sandyard.db") for _ in range(8)))
    await stores[0].sandboxes.add(a_sandbox())
    for store in stores:
        assert await store.sandboxes.get("s0") == a_sandbox()
        await store.close()


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


async def test_the_database_is_readable_by_the_owner_only_and_closed_for_good(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "sandyard.db")
    await store.sandboxes.add(a_sandbox())
    assert set(modes(tmp_path).values()) == {0o600}
    await store.close()
    await store.close()
    assert modes(tmp_path) == {"sandyard.db": 0o600}
    with pytest.raises(StoreUnavailable, match="is closed"):
        await store.sandboxes.get("s0")
