"""Saving what a sandbox wrote, and starting others with it."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from sandyard.domain.errors import BackendUnavailable, SandboxGone
from sandyard.domain.specs import Limits, Mount, SandboxSpec
from sandyard.trees import remove
from support.sandboxes import Rig, rig, until_gone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

ROOT = os.geteuid() == 0
LIMITS = Limits(memory_bytes=512 << 20, disk_bytes=300 << 20, processes=64)


def spec(made: Rig, name: str, **changes: Any) -> SandboxSpec:
    fields: dict[str, Any] = {"system": "writable", "limits": LIMITS, **changes}
    return made.spec(name, **fields)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        yield made


WRITE = """
import os
open('/home/user/text', 'w').write('kept')
os.chmod('/home/user/text', 0o640)
os.setxattr('/home/user/text', 'user.colour', b'blue')
os.symlink('/etc/shadow', '/home/user/link')
os.link('/home/user/text', '/home/user/second')
os.mkfifo('/home/user/pipe')
with open('/home/user/holes', 'wb') as file:
    file.seek(1 << 30)
    file.write(b'end')
os.makedirs('/home/user/a/b/c', mode=0o711)
open('/home/user/new\\nline', 'w').close()
open('/home/user/\\udcff', 'w').close()
os.utime('/home/user/text', (1000000000, 1000000000))
open('/app/added', 'w').close()
os.remove('/app/main.py')
open('/tmp/t', 'w').close()
os.remove('/etc/inputrc')
for name in os.listdir('/etc/terminfo'):
    os.remove('/etc/terminfo/' + name)
os.rmdir('/etc/terminfo')
os.mkdir('/etc/terminfo')
"""
READ = """
import os, stat
found = os.stat('/home/user/text')
result = {
    'text': open('/home/user/text').read(),
    'mode': stat.S_IMODE(found.st_mode),
    'links': found.st_nlink,
    'time': int(found.st_mtime),
    'colour': os.getxattr('/home/user/text', 'user.colour').decode(),
    'link': os.readlink('/home/user/link'),
    'pipe': stat.S_ISFIFO(os.stat('/home/user/pipe').st_mode),
    'holes': [os.stat('/home/user/holes').st_size, os.stat('/home/user/holes').st_blocks < 100],
    'deep': stat.S_IMODE(os.stat('/home/user/a/b/c').st_mode),
    'names': sorted(name for name in map(ascii, os.listdir('/home/user')) if '\\\\' in name),
    'app': [os.path.exists('/app/added'), os.path.exists('/app/main.py')],
    'tmp': os.path.exists('/tmp/t'),
    'gone': [os.path.exists('/etc/inputrc'), os.listdir('/etc/terminfo')],
}
"""
EXPECTED: dict[str, Any] = {
    "text": "kept",
    "mode": 0o640,
    "links": 2,
    "time": 1000000000,
    "colour": "blue",
    "link": "/etc/shadow",
    "pipe": True,
    "holes": [(1 << 30) + 3, True],
    "deep": 0o711,
    "names": ["'\\udcff'", "'new\\nline'"],
    "app": [True, False],
    "tmp": True,
    "gone": [False, []],
}


async def written(made: Rig, name: str = "first") -> Path:
    """Start a sandbox that writes all sorts of things; return where its state was saved."""
    await made.backend.start(spec(made, name))
    await made.result(name, f"{WRITE}\nresult = True")
    saved = await made.backend.save(name, made.data / f"{name}.saved")
    assert saved.memory is False
    return made.data / f"{name}.saved"


async def restored(made: Rig, name: str, state: Path, **changes: Any) -> None:
    """Start a sandbox with that state; its program lies outside /app, which is what was saved."""
    probe = made.data.parent / f"probe-{name}"
    probe.mkdir()
    source = made.spec(name)
    program = (source.mounts[0].source / "main.py").read_text()
    (probe / "main.py").write_text(program)

    mounts = (source.mounts[0], Mount(probe, "/probe", "ro"))
    command = (source.command[0], "/probe/main.py")
    await made.backend.start(spec(made, name, restore=state, mounts=mounts, command=command, **changes))


@pytest.mark.promise("files.saved", "files.restored")
async def test_what_was_written_and_removed_comes_back(made: Rig) -> None:
    state = await written(made)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert await made.result("first", "result = 1") == 1  # it runs on
    await restored(made, "second", state)
    assert await made.result("second", READ) == EXPECTED


@pytest.mark.promise("files.saved")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="one user has one owner")
async def test_owners_and_set_uid_bits_are_those_inside(made: Rig) -> None:
    await made.backend.start(spec(made, "first"))
    code = "import os; open('/srv/x', 'w').close(); os.chown('/srv/x', 33, 44); os.chmod('/srv/x', 0o4755); os.chown('/home/user', 0, 0); result = 1"
    await made.result("first", code)
    await made.backend.save("first", made.data / "state")
    await made.backend.start(spec(made, "second", restore=made.data / "state"))
    code = "import os; s = os.stat('/srv/x'); result = [s.st_uid, s.st_gid, s.st_mode & 0o7777, os.stat('/home/user').st_uid]"
    assert await made.result("second", code) == [33, 44, 0o4755, 0]
    uid = made.record("second").uid
    assert uid is not None
    assert await made.result("second", "import os; os.chown('/srv/x', 5, 6); result = os.stat('/srv/x').st_uid") == 5


@pytest.mark.promise("files.saved", "files.restored")
async def test_a_fixed_sandbox_is_saved_too(made: Rig) -> None:
    await made.backend.start(spec(made, "first", system="fixed"))
    await made.result("first", "open('/home/user/x', 'w').write('y'); open('/app/x', 'w').write('z'); result = 1")
    await made.backend.save("first", made.data / "state")
    await made.backend.start(spec(made, "second", system="fixed", restore=made.data / "state"))
    assert await made.result("second", "result = open('/home/user/x').read() + open('/app/x').read()") == "yz"
    await made.result("second", "open('/home/user/x', 'w').write('changed'); result = 1")
    with pytest.raises(BackendUnavailable, match="fixed system"):
        await made.backend.start(spec(made, "third", restore=made.data / "state"))


@pytest.mark.promise("files.restored")
async def test_forks_do_not_see_each_other(made: Rig) -> None:
    state = await written(made)
    names = [f"fork{number}" for number in range(4)]
    for name in names:
        await restored(made, name, state)
        await made.result(name, f"open('/home/user/text', 'w').write({name!r}); result = 1")
    assert [await made.result(name, "result = open('/home/user/text').read()") for name in names] == names
    await restored(made, "last", state)
    assert await made.result("last", READ) == EXPECTED


@pytest.mark.promise("files.saved_again")
async def test_a_restored_sandbox_is_saved_with_both_layers(made: Rig) -> None:
    state = await written(made)
    await restored(made, "second", state)
    code = """
    import os
    os.remove('/home/user/second'); os.remove('/home/user/pipe'); os.rmdir('/home/user/a/b/c'); os.mkdir('/home/user/a/b/d')
    open('/home/user/more', 'w').write('more'); open('/etc/inputrc', 'w').write('back'); open('/etc/terminfo/x', 'w').close()
    result = 1
    """
    await made.result("second", code)
    await made.backend.save("second", made.data / "between")
    await restored(made, "next", made.data / "between")
    known = next(iter(os.listdir("/etc/terminfo") or ["x"]))  # noqa: PTH208 (a name that the hidden directory has, too)
    await made.result("next", f"open('/etc/terminfo/{known}', 'w').close(); result = 1")
    await made.backend.save("next", made.data / "more")
    await restored(made, "last", made.data / "more")
    await made.result("last", f"import os; os.remove('/etc/terminfo/{known}'); open('/etc/terminfo/x', 'w').close(); result = 1")
    await made.backend.save("last", made.data / "again")
    for name in ("first", "second", "next", "last"):
        await made.backend.stop(name)

    remove(state)
    assert not state.exists()
    await restored(made, "third", made.data / "again")
    code = """
    import os
    result = [open('/home/user/text').read(), sorted(os.listdir('/home/user/a/b')), os.path.exists('/home/user/pipe'),
        open('/home/user/more').read(), open('/etc/inputrc').read(), os.listdir('/etc/terminfo'), os.path.exists('/app/main.py')]
    """
    assert await made.result("third", code) == ["kept", ["d"], False, "more", "back", ["x"], False]


@pytest.mark.promise("files.saved")
async def test_a_frozen_sandbox_stays_frozen(made: Rig) -> None:
    await made.backend.start(spec(made, "box"))
    await made.backend.freeze("box")
    await made.backend.save("box", made.data / "state")
    assert [found.frozen for found in await made.backend.list()] == [True]
    await made.backend.thaw("box")
    assert await made.result("box", "result = 1") == 1


@pytest.mark.promise("files.saved_whole")
async def test_a_place_that_is_taken_is_refused_and_nothing_is_left(made: Rig) -> None:
    await made.backend.start(spec(made, "box"))
    (made.data / "state").mkdir()
    with pytest.raises(BackendUnavailable, match="exists already"):
        await made.backend.save("box", made.data / "state")
    assert list((made.data / "state").iterdir()) == []
    assert not (made.data / "sandboxes" / "box" / "saving").exists()
    assert await made.result("box", "result = 1") == 1
    with pytest.raises(SandboxGone):
        await made.backend.save("unknown", made.data / "other")


MANY = "import os\nfor n in range(10000):\n    open(f'/home/user/{n}', 'w').close()\nresult = 1"


async def _saving(made: Rig) -> asyncio.Task[object]:
    """Return a save of 10,000 files that has begun: its directory is there."""
    await made.backend.start(spec(made, "box"))
    await made.result("box", MANY)
    saving = asyncio.ensure_future(made.backend.save("box", made.data / "state"))
    place = made.data / "sandboxes" / "box" / "saving" / "home"
    await _until(lambda: place.exists() or saving.done())
    assert not saving.done()
    return saving


@pytest.mark.promise("files.saved_whole")
async def test_a_keeper_that_is_killed_leaves_no_half_state(made: Rig) -> None:
    saving = await _saving(made)
    keeper = made.keeper()
    os.kill(keeper, signal.SIGKILL)
    await until_gone(keeper)
    with pytest.raises(BackendUnavailable):
        await saving
    assert await made.result("box", "result = 1") == 1  # another keeper let it run on
    assert not (made.data / "state").exists()
    await _until(lambda: not (made.data / "sandboxes" / "box" / "saving").exists())


@pytest.mark.promise("files.saved_whole")
async def test_a_server_that_goes_leaves_no_half_state(made: Rig) -> None:
    saving = await _saving(made)
    await made.backend.close()
    with pytest.raises(BackendUnavailable):
        await saving
    made.backend = made.another()
    await made.backend.open()
    assert await made.result("box", "result = 1") == 1
    assert not (made.data / "state").exists()
    await _until(lambda: not (made.data / "sandboxes" / "box" / "saving").exists())


@pytest.mark.promise("files.saved_whole")
async def test_a_stop_ends_a_save_under_way(made: Rig) -> None:
    saving = await _saving(made)
    await made.backend.stop("box")
    with pytest.raises((BackendUnavailable, SandboxGone)):
        await saving
    assert not (made.data / "state").exists()
    assert list((made.data / "sandboxes").iterdir()) == []


@pytest.mark.promise("files.saved", "files.limits")
async def test_ten_thousand_files_and_a_deep_tree_are_saved(made: Rig) -> None:
    await made.backend.start(spec(made, "box"))
    await made.result("box", MANY)
    code = "import os\nos.chdir('/home/user')\nfor _ in range(1500):\n    os.mkdir('d'); os.chdir('d')\nresult = 1"
    await made.result("box", code)
    await made.backend.save("box", made.data / "state")
    await made.backend.start(spec(made, "second", restore=made.data / "state"))
    assert await made.result("second", "import os; result = len(os.listdir('/home/user'))") == 10001
    usage = await made.backend.usage("second")
    assert usage.disk_bytes < 1 << 20
    code = "import os\nos.chdir('/home/user')\nfor n in range(1500):\n    os.chdir('d')\nresult = 1"
    assert await made.result("second", code) == 1
    await made.backend.shutdown()
    rm = await asyncio.create_subprocess_exec("rm", "-rf", str(made.data / "state"))  # too deep for pytest
    assert await rm.wait() == 0


@pytest.mark.promise("files.hostile")
async def test_hostile_trees_lead_nowhere(made: Rig, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    code = f"""
    import os, socket
    os.chdir('/home/user')
    os.symlink({str(tmp_path)!r}, 'outside')
    os.symlink({str(secret)!r}, 'file')
    os.symlink('/proc/1/root', 'root')
    os.symlink('../../../../../..', 'up')
    os.mkfifo('fifo')
    sock = socket.socket(socket.AF_UNIX); sock.bind('sock'); sock.listen()
    for name, value in (('user.overlay.opaque', b'y'), ('user.overlay.redirect', b'/etc'), ('user.overlay.metacopy', b'')):
        try:
            os.setxattr('/home/user', name, value)
        except OSError:
            pass
    os.mkdir('shown'); open('shown/x', 'w').close()
    try:
        os.mknod('whiteout', 0o20000, 0)
    except OSError:
        pass
    os.mkdir('upper'); os.mkdir('/dev/shm/upper'); os.symlink('/etc', '/tmp/upper')
    result = 1
    """
    await made.result("box", code) if False else None
    await made.backend.start(spec(made, "box"))
    await made.result("box", code)
    begun = time.monotonic()
    await made.backend.save("box", made.data / "state")
    assert time.monotonic() - begun < 20
    home = made.data / "state" / "home"
    assert (home / "outside").is_symlink()
    assert (home / "file").is_symlink()
    assert (home / "root").is_symlink()
    assert not (home / "sock").exists()
    assert [name for name in (os.listxattr(home) if ROOT else []) if "overlay" in name] == []
    assert secret.read_text() == "the host's"
    await made.backend.start(spec(made, "second", restore=made.data / "state"))
    assert await made.result("second", "import os; result = sorted(os.listdir('/home/user/shown'))") == ["x"]
    assert (await made.run("second", "open('/home/user/file').read()")).error == "FileNotFoundError"


@pytest.mark.promise("files.limits")
async def test_changes_of_what_was_restored_count_against_the_limit(made: Rig) -> None:
    small = Limits(memory_bytes=512 << 20, disk_bytes=24 << 20, processes=64)
    await made.backend.start(spec(made, "first", limits=small))
    await made.result("first", "open('/home/user/big', 'wb').write(bytes(16 << 20)); result = 1")
    saved = await made.backend.save("first", made.data / "state")
    assert saved.size_bytes >= 16 << 20
    await made.backend.start(spec(made, "second", limits=small, restore=made.data / "state"))
    assert await made.result("second", "open('/home/user/more', 'wb').write(bytes(16 << 20)); result = 1") == 1
    assert (await made.run("second", "open('/home/user/big', 'r+b').write(b'x')")).errno == 28


async def _until(true: Callable[[], bool]) -> None:
    """Wait for what nobody outside is told of."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 (a directory)
            await asyncio.sleep(0.001)
