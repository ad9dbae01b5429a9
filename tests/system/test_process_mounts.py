"""Directories that a living sandbox is given and that are taken from it, whatever it does meanwhile; and those of bounded size."""

# ruff: noqa: ASYNC240 (temporary directories do not block)
from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from sandyard import disks
from sandyard.backends.process import uids
from sandyard.domain.errors import MountRefused, NotSupported, SandboxGone
from sandyard.domain.specs import Mount
from sandyard.domain.volumes import Volume
from sandyard.services.volumes.homes import Homes
from support.loops import needs_loops
from support.sandboxes import Rig, rig, until_gone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter a sandbox's namespace, or mount a file system"),
]

MEBIBYTE = 1 << 20
STORED_USER = uids.STORED + 1000


@pytest.fixture
async def made(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        yield made


@pytest.fixture
def volume(tmp_path: Path) -> Mount:
    place = tmp_path / "volume"
    place.mkdir()
    (place / "hosts").write_text("ours")
    return Mount(place, "/mnt/a/data", "rw", shared=True)


def a_disk(directory: Path, target: str = "/data", *, size: int = 16 * MEBIBYTE, inodes: int | None = None) -> Mount:
    """Return a disk as the services make it."""
    path = directory / "disk"
    disks.make(path, size, inodes)
    fd = disks.mount(path)
    content = Path(f"/proc/self/fd/{fd}", disks.CONTENT)
    content.mkdir()
    os.chown(content, STORED_USER, STORED_USER)
    os.close(fd)
    return Mount(path, target, "rw", shared=True, disk=True)


def devices_of(path: Path) -> str:
    """Return the loop devices that show a file."""
    return subprocess.run(["losetup", "-j", str(path)], capture_output=True, text=True, check=True).stdout


@pytest.mark.promise("files.mounted-live")
async def test_a_living_sandbox_is_given_a_directory_and_loses_it_again(made: Rig, volume: Mount) -> None:
    for name, system in (("fixed", "fixed"), ("box", "writable")):
        mount = Mount(volume.source, "/home/user/new/data", "rw", shared=True) if system == "fixed" else volume
        at = mount.target
        await made.backend.start(made.spec(name, system=system))
        for _ in range(2):
            await made.backend.mount(name, mount)
        code = f"import os; open('{at}/{name}', 'w').write('in'); result = [os.stat('{at}/' + n).st_uid for n in ('hosts', '{name}')]"
        assert await made.result(name, code) == [1000, 0 if system == "writable" else 1000]
        assert (mount.source / name).read_text() == "in"
        (options,) = await made.result(name, f"result = [line.split()[3] for line in open('/proc/mounts') if ' {at} ' in line]")
        assert {"nosuid", "nodev", "idmapped"} <= set(options.split(","))
        assert await made.result(name, f"import os; result = os.stat(os.path.dirname('{at}')).st_mode & 0o777") == 0o755
        await made.result(name, f"file = open('{at}/hosts'); result = 0")
        with pytest.raises(MountRefused, match="in use"):
            await made.backend.unmount(name, mount, force=False)
        await made.backend.unmount(name, mount, force=True)
        assert await made.result(name, f"import os; result = [os.listdir('{at}'), file.read()]") == [[], "ours"]
        for _ in range(2):
            await made.backend.unmount(name, mount, force=False)
    assert str(volume.source) not in Path("/proc/mounts").read_text()


@pytest.mark.promise("files.mounted-live")
async def test_no_link_is_followed_and_nothing_is_made_that_the_sandbox_could_not_make(made: Rig, volume: Mount) -> None:
    await made.backend.start(made.spec("box", system="writable"))
    await made.backend.start(made.spec("fixed"))
    prepare = """
    import os
    os.symlink('/etc', '/home/user/link'); os.symlink('/proc/1/root/etc', '/mnt/out'); os.symlink('..', '/mnt/up')
    open('/mnt/file', 'w').close(); os.mkdir('/mnt/shut', 0o500); os.symlink('/nowhere', '/mnt/nowhere')
    result = 0
    """
    await made.result("box", prepare)
    for target in (
        "/home/user/link",
        "/home/user/link/x",
        "/mnt/out",
        "/mnt/out/x",
        "/mnt/up/etc",
        "/mnt/file",
        "/mnt/nowhere",
        "/mnt/shut/x",
    ):
        with pytest.raises(MountRefused, match=r"link|directory"):
            await made.backend.mount("box", Mount(volume.source, target, "rw", shared=True))
    with pytest.raises(MountRefused, match="below /home/user"):
        await made.backend.mount("fixed", volume)
    assert await made.result("box", "import os; result = [os.path.exists('/etc/x'), os.path.exists('/nowhere')]") == [False, False]
    assert not Path("/etc/x").exists()
    await made.backend.stop("box")
    with pytest.raises(SandboxGone):
        await made.backend.mount("box", volume)


@pytest.mark.promise("files.mounted-live")
async def test_who_swaps_directories_for_links_meanwhile_gains_nothing(made: Rig, volume: Mount) -> None:
    await made.backend.start(made.spec("box", system="writable"))
    swap = """
    import ctypes, os, threading
    os.makedirs('/mnt/real/deep'); os.symlink('/etc', '/mnt/lie')
    libc = ctypes.CDLL(None)
    def turn():
        while not done.is_set():
            libc.renameat2(-100, b'/mnt/real', -100, b'/mnt/lie', 2)
    done = threading.Event(); threading.Thread(target=turn, daemon=True).start()
    result = 0
    """
    await made.result("box", swap)
    came: set[bool] = set()
    for _ in range(30):
        mount = Mount(volume.source, "/mnt/real/deep", "rw", shared=True)
        try:
            await made.backend.mount("box", mount)
        except MountRefused:
            came.add(False)
        else:
            came.add(True)
        with suppress(MountRefused):
            await made.backend.unmount("box", mount, force=True)
    lines = await made.result("box", "done.set(); result = [line.split()[1] for line in open('/proc/mounts')]")
    assert True in came
    assert not [line for line in lines if line.startswith("/etc/deep")]
    assert not Path("/etc/deep").exists()
    assert str(volume.source) not in Path("/proc/mounts").read_text()


@pytest.mark.promise("files.mounted-live")
@needs_loops
async def test_what_a_sandbox_has_moved_is_not_taken_for_gone(made: Rig, volume: Mount, tmp_path: Path) -> None:
    await made.backend.start(made.spec("box", system="writable"))
    (tmp_path / "for-disk").mkdir()
    for mount in (volume, a_disk(tmp_path / "for-disk", volume.target)):
        await made.backend.mount("box", mount)
        await made.result("box", "import os; os.rename('/mnt/a', '/mnt/b'); result = 0")
        for force in (False, True):
            with pytest.raises(MountRefused, match="was moved"):
                await made.backend.unmount("box", mount, force=force)
        await made.result("box", "import os; os.rename('/mnt/b', '/mnt/a'); result = 0")
        await made.backend.unmount("box", mount, force=False)


@pytest.mark.promise("files.mounted-live")
async def test_a_frozen_sandbox_is_given_directories_too_and_one_without_isolation_none(made: Rig, volume: Mount, tmp_path: Path) -> None:
    await made.backend.start(made.spec("box", system="writable"))
    await made.backend.freeze("box")
    await made.backend.mount("box", volume)
    await made.backend.thaw("box")
    assert await made.result("box", f"result = open('{volume.target}/hosts').read()") == "ours"
    (tmp_path / "bare").mkdir()
    async with rig(tmp_path / "bare", "none") as bare:
        await bare.backend.start(bare.spec("box", mode="ro"))
        with pytest.raises(NotSupported, match="isolated"):
            await bare.backend.mount("box", volume)


FILL = """
import errno, os
written = 0
try:
    with open('/data/{name}', 'wb', buffering=0) as file:
        while True:
            written += file.write(bytes(1 << 20))
except OSError as error:
    result = [error.errno == errno.ENOSPC, written]
"""
MANY = """
import errno
made = 0
try:
    while made < 5000:
        open(f'/data/{made}', 'x').close()
        made += 1
except OSError as error:
    result = [error.errno == errno.ENOSPC, made]
"""


@pytest.mark.promise("files.bounded")
@needs_loops
async def test_a_disk_holds_what_it_was_made_for_and_no_more_whoever_writes(made: Rig, tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    spec = made.spec("a")
    await made.backend.start(made.spec("a", mounts=(*spec.mounts, disk)))
    await made.backend.start(made.spec("b", system="writable"))
    await made.backend.mount("b", disk)
    full, written = await made.result("a", FILL.format(name="a"))
    assert full
    assert 16 * MEBIBYTE <= written <= 16 * MEBIBYTE + 48 * MEBIBYTE
    assert await made.result("b", FILL.format(name="b")) == [True, 0]
    assert await made.result("b", "import os; os.unlink('/data/a'); result = sorted(os.listdir('/data'))") == ["b"]
    assert await made.result("a", "import os; result = os.stat('/data/b').st_uid") == 65534  # root's of the other sandbox
    await made.backend.unmount("b", disk, force=False)
    assert devices_of(disk.source).count("\n") == 1
    assert str(disk.source) not in Path("/proc/mounts").read_text()
    await made.backend.stop("a")
    await made.backend.stop("b")
    await until_free(disk.source)


@pytest.mark.promise("files.bounded")
@needs_loops
async def test_the_number_of_files_is_bounded_too(made: Rig, tmp_path: Path) -> None:
    disk = a_disk(tmp_path, inodes=200)
    await made.backend.start(made.spec("box", mounts=(*made.spec("box").mounts, disk)))
    full, count = await made.result("box", MANY)
    assert full
    assert 200 <= count <= 400


@pytest.mark.promise("files.bounded")
@needs_loops
async def test_whoever_is_killed_leaves_neither_mount_nor_device(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    async with rig(tmp_path) as made:
        await made.backend.start(made.spec("box", mounts=(*made.spec("box").mounts, disk)))
        await made.result("box", "open('/data/kept', 'w').write('kept'); import os; os.sync(); result = 0")
        keeper, first = made.keeper(), made.first("box")
        os.kill(keeper, 9)
        os.kill(first, 9)
        await until_gone(first)
        await until_free(disk.source)
        assert not await made.backend.list()  # another keeper is there
    fd = disks.mount(disk.source)
    try:
        assert Path(f"/proc/self/fd/{fd}", disks.CONTENT, "kept").read_text() == "kept"
    finally:
        os.close(fd)


@pytest.mark.promise("volumes.quotas")
@needs_loops
def test_uploads_that_a_killed_server_left_take_no_room(tmp_path: Path) -> None:
    volume = Volume(id="v1", owner="ann", name="data", created_at=1.0, size_bytes=16 * MEBIBYTE)
    killed = Homes(tmp_path)
    killed.make(volume)
    (killed.place("v1").drafts / "half").write_text("x")
    again = Homes(tmp_path)
    place = again.place("v1")
    assert not list(place.drafts.iterdir())
    (place.drafts / "mine").write_text("x")
    for number in range(20):  # more than stay mounted
        other = replace(volume, id=f"w{number}")
        again.make(other)
        assert again.place(other.id).root.is_dir()
    assert [path.name for path in again.place("v1").drafts.iterdir()] == ["mine"]
    again.remove("v1")
    assert not (tmp_path / "v1").exists()
    assert (place.drafts / "mine").read_text() == "x", "who works in it still has it"


async def until_free(path: Path) -> None:
    """Return when no loop device shows the file: the kernel lets go of a mount a moment after its last user has gone."""
    with anyio.fail_after(20):
        while devices_of(path):  # noqa: ASYNC110 (it tells nobody)
            await anyio.sleep(0.02)
