"""How process sandboxes begin and end: sentences, mounts given back, nothing left, many at once."""

# ruff: noqa: ASYNC240 (reading /proc and temporary directories does not block)
from __future__ import annotations

import asyncio
import os
import sys
import time
import zlib
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from sandyard.domain.errors import BackendUnavailable, SandboxGone, StartFailed
from sandyard.domain.specs import Mount
from support.namespaces import map_ids
from support.sandboxes import Rig, ended, keepers, lives, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def made(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        yield made


def groups(data: Path) -> list[str]:
    """Return the control groups of a data directory."""
    name = f"sandyard-{zlib.crc32(os.fsencode(data)):08x}"
    return [path for path, names, _ in os.walk("/sys/fs/cgroup") if name in names]


@pytest.mark.promise("process.nothing_left")
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
async def test_a_start_on_a_full_disk_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    await anyio.run_process(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)])
    try:
        async with rig(disk) as made:
            spec = made.spec("box")
            before = len(os.listdir(f"/proc/{made.keeper()}/fd"))  # noqa: PTH208 (only how many)
            room = os.statvfs(disk)
            for left in (0, 4096, 64 * 1024) * 4:
                with (disk / "filler").open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left)
                with pytest.raises(BackendUnavailable, match="disk of the data directory is full"):
                    await made.backend.start(spec)
            assert list((made.data / "sandboxes").iterdir()) == []
            (disk / "filler").unlink()
            await made.backend.start(spec)
            await made.backend.stop("box")
            assert len(os.listdir(f"/proc/{made.keeper()}/fd")) - before <= 4  # noqa: PTH208 (two for each launcher that stands by)
    finally:
        await anyio.run_process(["umount", str(disk)])


@pytest.mark.promise("process.nothing_left")
async def test_nothing_is_left(tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    async with rig(tmp_path) as made:
        for name in ("a", "b", "c"):
            await made.backend.start(made.spec(name))
        pids = [pid for name in ("a", "b", "c") for pid in (made.record(name).outer, made.first(name))]
        assert os.geteuid() or groups(made.data)
        await made.backend.stop("a")
        assert not (made.data / "sandboxes" / "a").exists()
        await made.backend.freeze("b")
        keeper = made.keeper()
    assert [pid for pid in (*pids, keeper) if lives(pid)] == []
    assert keepers(made.data) == []
    assert list((made.data / "sandboxes").iterdir()) == []
    assert not (made.data / "keeper.sock").exists()
    assert Path("/proc/self/mountinfo").read_text() == before
    assert groups(made.data) == []
    assert made.listeners == {}


@pytest.mark.promise("process.end_told")
@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("raise SystemExit(3)", "The agent exited with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "The agent was killed by signal 9 (SIGKILL)"),
        ("import time; print('still thinking', flush=True); time.sleep(60)", "The agent did not listen on port 8080 within 2 s"),
    ],
)
async def test_a_failed_start_says_why(made: Rig, script: str, sentence: str) -> None:
    with pytest.raises(StartFailed) as caught:
        await made.backend.start(made.spec("box", script, ready_timeout=2))
    assert caught.value.exited.reason == sentence
    assert (caught.value.exited.output == "still thinking\n") == ("thinking" in script)
    assert list((made.data / "sandboxes").iterdir()) == []


@pytest.mark.promise("process.end_told")
async def test_a_killed_first_process_is_told(made: Rig) -> None:
    await made.backend.start(made.spec("box"))
    os.kill(made.first("box"), 9)
    exited = await ended(made.backend)
    assert (exited.sandbox_id, exited.reason) == ("box", "The sandbox's first process was killed")
    with pytest.raises(SandboxGone):
        await made.backend.connect("box", 8080)


@pytest.mark.promise("process.end_told")
async def test_a_commands_end_and_output_are_told(made: Rig) -> None:
    await made.backend.start(made.spec("job", "print('built'); raise SystemExit(4)", ready_port=None))
    exited = await ended(made.backend)
    assert (exited.exit_code, exited.reason, exited.output) == (4, "The command exited with code 4", "built\n")
    assert await made.backend.output("job") == (b"built\n", 6)
    assert await made.backend.output("job", 4) == (b"t\n", 6)


@pytest.mark.promise("process.end_told")
async def test_commands_that_end_at_once_are_told_all_the_same(made: Rig) -> None:
    names = {f"job{number}" for number in range(12)}
    await asyncio.gather(*(made.backend.start(made.spec(name, command=("/bin/true",), ready_port=None)) for name in names))
    ends = [await ended(made.backend) for _ in names]
    assert {exited.sandbox_id: exited.exit_code for exited in ends} == dict.fromkeys(names, 0)
    assert made.listeners == {}


@pytest.mark.promise("process.given_back")
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's sandboxes write as that user")
async def test_writable_mounts_are_given_back_without_following_links(made: Rig, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    precious.chmod(0o600)
    os.chown(precious, 4242, 4242)
    target = tmp_path / "venv"
    target.mkdir()
    script = f"""
    import os
    os.symlink({str(precious)!r}, '/venv/file')
    os.symlink('/', '/venv/directory')
    os.makedirs('/venv/deep')
    os.chdir('/venv/deep')
    for n in range(1500):
        os.mkdir('d'); os.chdir('d')
    open('x', 'w').write('y')
    open('/venv/suid', 'w').write('y')
    os.chmod('/venv/suid', 0o6755)
    """
    spec = made.spec("job", script, ready_port=None)
    await made.backend.start(made.spec("job", script, ready_port=None, mounts=(*spec.mounts, Mount(target, "/venv", "rw"))))
    exited = await ended(made.backend)
    assert exited.exit_code == 0, exited
    assert precious.stat().st_uid == 4242
    assert Path("/").stat().st_uid == 0
    for name in ("file", "directory", "deep", "suid", "deep/d/d/d"):
        assert (target / name).lstat().st_uid == 0, name
    assert (target / "suid").stat().st_mode & 0o6000 == 0
    rm = await asyncio.create_subprocess_exec("rm", "-rf", str(target))  # too deep for pytest
    assert await rm.wait() == 0


@pytest.mark.promise("process.many_at_once")
@pytest.mark.slow
async def test_fifty_starts_at_once(made: Rig) -> None:
    names = [f"s{number}" for number in range(50)]
    begun = time.monotonic()
    await asyncio.gather(*(made.backend.start(made.spec(name, ready_timeout=90)) for name in names))
    assert time.monotonic() - begun < 90
    assert {found.sandbox_id for found in await made.backend.list()} == set(names)
    answers = await asyncio.gather(*(made.result(name, "import os; result = os.uname().nodename") for name in names))
    assert answers == names


@pytest.mark.promise("process.nothing_left")
async def test_a_cancelled_start_leaves_nothing(made: Rig) -> None:
    task = asyncio.create_task(made.backend.start(made.spec("box", "import time; time.sleep(60)")))
    async with asyncio.timeout(10):
        while not await made.backend.list():
            pass  # each question is a round trip to the keeper
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await made.backend.list() == []
    assert list((made.data / "sandboxes").iterdir()) == []


@pytest.mark.promise("process.proxy_inside")
async def test_the_way_out_is_a_listener_inside(made: Rig) -> None:
    await made.backend.start(made.spec("box"))
    asking = asyncio.create_task(
        made.result(
            "box", "import socket; s = socket.create_connection(('127.0.0.1', 3128), 10); s.sendall(b'hello'); result = s.recv(5).decode()"
        )
    )
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        sock, _ = await loop.sock_accept(made.listeners["box"])
    with sock:
        sock.setblocking(False)
        assert await loop.sock_recv(sock, 5) == b"hello"
        await loop.sock_sendall(sock, b"world")
    assert await asking == "world"


@pytest.mark.promise("process.refusal")
async def test_a_machine_without_user_namespaces_is_told_so(tmp_path: Path) -> None:
    """In a user namespace of our own, whose limit is ours to set."""
    script = f"""
import asyncio, sys
from pathlib import Path
from sandyard.backends.process.backend import ProcessBackend
from sandyard.domain.errors import BackendUnavailable
async def main():
    backend = ProcessBackend(Path({str(tmp_path)!r}) / "data", attach_egress=lambda *_: None, detach_egress=lambda *_: None)
    try:
        await backend.open()
    except BackendUnavailable as error:
        print(error)
    else:
        await backend.shutdown()
Path("/proc/sys/user/max_user_namespaces").write_text("0")
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--user", "sh", "-c", 'echo ready; read go; exec "$0" -c "$1"', sys.executable, script), stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"ready\n"
        map_ids(process.pid)
        said, _ = await process.communicate(b"go\n")
    assert b"user.max_user_namespaces is 0" in said


@pytest.mark.promise("process.one_keeper")
async def test_a_name_is_given_once(made: Rig) -> None:
    await made.backend.start(made.spec("box"))
    with pytest.raises(BackendUnavailable):
        await made.backend.start(made.spec("box"))
    assert await made.result("box", "result = 1") == 1


@pytest.mark.promise("process.no_isolation")
async def test_without_isolation_a_sandbox_is_marked(tmp_path: Path) -> None:
    async with rig(tmp_path, "none") as made:
        started = await made.backend.start(made.spec("box"))
        assert started.isolation.user == "none"
        assert not started.isolation.seccomp
        assert started.isolation.namespaces == ()
        assert "not isolated" in started.isolation.notes[0]
        assert await made.result("box", "open('x', 'w').write('x'); result = 1") == 1
        assert not (tmp_path / "app-box" / "x").exists()
        first = made.first("box")
        await made.backend.stop("box")
        assert not lives(first)
        assert list((made.data / "sandboxes").iterdir()) == []
