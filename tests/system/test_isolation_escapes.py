"""Sweeps from inside a sandbox: not what we thought of, but everything that is there, is tried. The single attempts are in test_process_isolation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from support.sandboxes import Rig, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

# The sandbox's own, whatever it writes there: its IPC namespace, its process-id namespace.
OWN_SETTINGS = re.compile(r"/proc/sys/(fs/mqueue/|kernel/(auto_msgmni|msg|sem|shm|ns_last_pid$|pid_max$))")


@pytest.fixture
async def box(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        await made.backend.start(made.spec("box"))
        yield made


@pytest.mark.promise("isolation.sweep")
async def test_no_directory_takes_a_file_but_those_that_are_meant(box: Rig) -> None:
    code = """
    import os
    result = []
    for top, directories, _ in os.walk('/'):
        if top in ('/proc', '/sys'):
            directories.clear()
            continue
        try:
            os.close(os.open(top + '/.sweep', os.O_CREAT | os.O_WRONLY))
        except OSError:
            continue
        result.append(top)
        directories.clear()
    """
    assert sorted(await box.result("box", code)) == ["/app", "/dev/shm", "/home/user", "/tmp"]


@pytest.mark.promise("isolation.sweep")
async def test_no_file_outside_of_them_opens_for_writing(box: Rig) -> None:
    code = """
    import os, stat
    result = []
    for top, directories, files in os.walk('/'):
        if top in ('/proc', '/sys', '/app', '/dev/shm', '/home/user', '/tmp'):
            directories.clear()
            continue
        for name in files:
            path = os.path.join(top, name)
            if os.access(path, os.W_OK, follow_symlinks=False) and not stat.S_ISLNK(os.lstat(path).st_mode):
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW))
                except OSError:
                    continue
                result.append(path)
    """
    assert set(await box.result("box", code)) <= {
        f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "pts/ptmx")
    }


@pytest.mark.promise("isolation.sweep")
async def test_no_setting_of_the_kernel_opens_for_writing_but_the_sandboxs_own(box: Rig) -> None:
    code = """
    import os
    result = []
    for start in ('/proc/sys', '/proc/sysrq-trigger', '/proc/irq', '/proc/bus', '/proc/fs', '/proc/acpi', '/proc/driver', '/proc/mtrr', '/sys'):
        paths = [start] if os.path.isfile(start) else [os.path.join(top, name) for top, _, files in os.walk(start) for name in files]
        for path in paths:
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue
            result.append(path)
    """
    assert [path for path in await box.result("box", code) if not OWN_SETTINGS.match(path)] == []


@pytest.mark.promise("isolation.sweep")
async def test_no_socket_and_no_device_is_in_sight_but_the_harmless(box: Rig) -> None:
    code = """
    import os, stat
    result = []
    for top, directories, files in os.walk('/'):
        if top in ('/proc', '/sys'):
            directories.clear()
            continue
        for name in files:
            kind = os.lstat(os.path.join(top, name)).st_mode
            if stat.S_ISSOCK(kind) or stat.S_ISBLK(kind) or stat.S_ISCHR(kind) or stat.S_ISFIFO(kind):
                result.append(os.path.join(top, name))
    """
    found = {path for path in await box.result("box", code) if not path.startswith("/dev/pts/")}
    assert found <= {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "console")}


@pytest.mark.promise("isolation.sweep")
async def test_nothing_of_the_first_process_can_be_read_that_tells_of_the_host(box: Rig) -> None:
    code = """
    import os
    result = []
    for name in os.listdir('/proc/1'):
        path = '/proc/1/' + name
        try:
            os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(1)
        except OSError:
            continue
        result.append(name)
    """
    opened = set(await box.result("box", code))
    closed = {
        "mem",
        "environ",
        "maps",
        "smaps",
        "smaps_rollup",
        "auxv",
        "fd",
        "fdinfo",
        "map_files",
        "root",
        "cwd",
        "exe",
        "ns",
        "stack",
        "syscall",
    }
    assert opened & closed == set()


@pytest.mark.promise("isolation.sweep")
async def test_set_user_id_programs_give_nothing(box: Rig) -> None:
    code = """
    import os, stat, subprocess
    result = {}
    for top in ('/usr/bin', '/usr/sbin', '/bin', '/sbin'):
        for name in os.listdir(top):
            path = os.path.join(top, name)
            if os.path.isfile(path) and os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID):
                child = subprocess.Popen([path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    result[path] = open('/proc/%d/status' % child.pid).read().split('Uid:')[1].splitlines()[0].split()
                except OSError:
                    pass
                child.kill()
                child.wait()
    """
    found = await box.result("box", code)
    assert {path: uids for path, uids in found.items() if set(uids) != {"1000"}} == {}
