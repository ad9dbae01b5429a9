"""Directories that several sandboxes write at once; and what sandboxes use."""

# ruff: noqa: ASYNC240 (temporary directories do not block)
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from sandyard.backends.process import uids
from sandyard.domain.errors import SandboxGone
from sandyard.domain.specs import Limits, Mount
from support.sandboxes import Rig, ended, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

ROOT = os.geteuid() == 0
WRITE = "import os; open('/data/{name}', 'w').write('{name}'); os.chmod('/data/{name}', 0o4700); result = os.stat('/data/{name}').st_uid"
READ = "import os; result = [open('/data/' + n).read() for n in sorted(os.listdir('/data'))]"


@pytest.fixture
async def made(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        yield made


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "0").write_text("ours")
    (volume / "0").chmod(0o600)
    return volume


async def start(made: Rig, name: str, volume: Path, *, shared: bool, system: str = "fixed") -> None:
    spec = made.spec(name)
    mounts = (*spec.mounts, Mount(volume, "/data", "rw", shared=shared))
    await made.backend.start(made.spec(name, mounts=mounts, system=system))


@pytest.mark.promise("files.volumes")
async def test_sandboxes_share_a_directory_each_under_its_own_ids(made: Rig, volume: Path) -> None:
    for name in ("a", "b"):
        await start(made, name, volume, shared=True)
        assert await made.result(name, WRITE.format(name=name)) == 1000
    await start(made, "c", volume, shared=True, system="writable")
    for name in ("a", "b", "c"):
        assert await made.result(name, READ) == ["ours", "a", "b"]
        assert await made.result(name, "import os; result = {os.stat('/data/' + n).st_uid for n in os.listdir('/data')} == {1000}")
    await made.backend.stop("a")
    assert await made.result("b", READ) == ["ours", "a", "b"]
    if ROOT:
        assert {path.stat().st_uid for path in (volume, *volume.iterdir())} == {uids.STORED + 1000}


@pytest.mark.promise("files.volumes")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="about a server started by root")
async def test_files_of_the_root_inside_are_not_the_hosts_roots(made: Rig, volume: Path) -> None:
    await start(made, "box", volume, shared=True, system="writable")
    code = "import os; open('/data/s', 'w').close(); os.chmod('/data/s', 0o4755); result = [os.getuid(), os.stat('/data/s').st_uid]"
    assert await made.result("box", code) == [0, 0]
    assert (volume / "s").stat().st_uid == uids.STORED
    await made.backend.stop("box")
    assert (volume / "s").stat().st_uid == uids.STORED
    await start(made, "again", volume, shared=True, system="writable")
    assert await made.result("again", "import os; result = [os.stat('/data/s').st_uid, os.stat('/data/0').st_uid]") == [0, 1000]


@pytest.mark.promise("files.volumes", "process.given_back")
async def test_what_is_not_shared_is_given_back_when_the_last_has_ended(made: Rig, volume: Path) -> None:
    for name in ("a", "b"):
        await start(made, name, volume, shared=False)
        await made.result(name, WRITE.format(name=name))
    await made.backend.stop("a")
    assert await made.result("b", READ) == ["ours", "a", "b"]
    await made.backend.stop("b")
    assert {path.stat().st_uid for path in (volume, *volume.iterdir())} == {os.geteuid()}
    assert ROOT is not bool((volume / "a").stat().st_mode & 0o4000)
    await start(made, "c", volume, shared=False)
    assert await made.result("c", READ) == ["ours", "a", "b"]


@pytest.mark.promise("files.usage")
async def test_what_is_used_is_measured(made: Rig) -> None:
    limits = Limits(memory_bytes=256 << 20, disk_bytes=64 << 20, processes=64, cpus=0.5)
    await made.backend.start(made.spec("box", limits=limits))
    before = await made.backend.usage("box")
    assert (before.memory_limit_bytes, before.disk_limit_bytes, before.cpu_count) == (256 << 20, 64 << 20, 0.5)
    code = """
    import time
    held = bytearray(b"x") * (40 << 20)
    open('/home/user/file', 'wb').write(bytes(8 << 20))
    begun = time.process_time()
    while time.process_time() - begun < 0.3:
        pass
    result = 1
    """
    await made.result("box", code)
    after = await made.backend.usage("box")
    assert after.disk_bytes - before.disk_bytes == 8 << 20
    assert after.memory_bytes - before.memory_bytes >= 40 << 20
    assert after.memory_cache_bytes - before.memory_cache_bytes >= 8 << 20
    assert 0.25 <= after.cpu_seconds - before.cpu_seconds < 5
    await made.backend.freeze("box")
    assert (await made.backend.usage("box")).disk_bytes == after.disk_bytes


@pytest.mark.promise("files.usage")
async def test_what_has_ended_uses_nothing(made: Rig) -> None:
    await made.backend.start(made.spec("job", "raise SystemExit(0)", ready_port=None))
    await ended(made.backend)
    for name in ("job", "unknown"):
        with pytest.raises(SandboxGone):
            await made.backend.usage(name)
