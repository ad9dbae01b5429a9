"""A system that a sandbox can change, and the root in it: what works, and what must not."""

# ruff: noqa: ASYNC240 (reading /proc and temporary directories does not block)
from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandyard.domain.errors import StartFailed
from sandyard.domain.specs import Limits, Mount, SandboxSpec
from support.sandboxes import Rig, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

ROOT = os.geteuid() == 0
LIMITS = Limits(memory_bytes=512 << 20, disk_bytes=64 << 20, processes=64)


def writable(made: Rig, name: str, **changes: Any) -> SandboxSpec:
    return made.spec(name, system="writable", limits=LIMITS, **changes)


async def shell(made: Rig, name: str, script: str) -> str:
    """Return what a shell inside prints, errors too."""
    code = f"""
    import subprocess
    done = subprocess.run(["/bin/sh", "-c", {script!r}], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    result = done.stdout
    """
    return await made.result(name, code)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        await made.backend.start(writable(made, "box"))
        yield made


@pytest.mark.promise("files.writable")
@pytest.mark.parametrize("place", ["/", "/etc", "/opt", "/home", "/var/lib", "/usr/local/bin", "/root", "/srv", "/home/user", "/tmp"])
async def test_places_can_be_written_and_the_host_has_nothing_of_it(box: Rig, place: str) -> None:
    name = f"{place.rstrip('/')}/sandyard-was-here"
    assert await box.result("box", f"open({name!r}, 'w').write('x'); import os; result = os.path.getsize({name!r})") == 1
    assert not (os.access(Path(name).parent, os.X_OK) and Path(name).exists())  # an ordinary user does not see into /root
    await box.backend.start(writable(box, "other"))
    assert await box.result("other", f"import os; result = os.path.exists({name!r})") is False


@pytest.mark.promise("files.writable", "files.root")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="about a server started by root")
async def test_root_changes_the_systems_own_files(box: Rig) -> None:
    said = await shell(box, "box", "rm /usr/bin/env && echo x > /usr/bin/x && echo y >> /etc/passwd && mv /etc/skel /etc/skel2 && id -u")
    assert said == "0\n"
    assert Path("/usr/bin/env").exists()
    assert not Path("/usr/bin/x").exists()


@pytest.mark.promise("files.ordinary_user")
@pytest.mark.skipif(ROOT, reason="about a server started by an ordinary user")
async def test_without_root_it_is_said(box: Rig) -> None:
    (found,) = await box.backend.list()
    assert found.isolation.root is False
    assert any("no root inside" in note for note in found.isolation.notes)
    assert await shell(box, "box", "id -u; touch /usr/local/bin/mine /etc/mine && rm /etc/passwd && echo changed") == "1000\nchanged\n"
    assert "denied" in await shell(box, "box", "touch /usr/bin/mine")


@pytest.mark.promise("files.no_secrets")
async def test_no_secret_of_the_host_is_shown(box: Rig) -> None:
    shadow = await shell(
        box, "box", "cat /etc/shadow /etc/gshadow 2>&1; find /etc/ssl/private /etc/pki/tls/private -type f 2>/dev/null; echo end"
    )
    assert "$" not in shadow
    assert "private/" not in shadow
    if ROOT:
        assert Path("/etc/shadow").read_text() not in shadow
    homes = await shell(box, "box", "ls -A /home /var/lib/* /var/log /srv /root 2>/dev/null")
    own = {path.name for place in ("/home", "/root") for path in Path(place).glob("[!.]*")} if ROOT else set[str]()
    assert not own & set(homes.split()) - {"user"}
    owners = await shell(box, "box", "cut -d: -f3 /etc/passwd | sort -n")
    assert {int(number) for number in owners.split() if 1000 <= int(number) < 65534} == {1000}
    assert (
        await shell(box, "box", "grep -rlE '://[^/ ]*@' /etc/apt 2>/dev/null; ls /etc/apt/auth.conf /etc/apt/auth.conf.d/* 2>/dev/null")
        == ""
    )


@pytest.mark.promise("files.root")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="about a server started by root")
async def test_the_root_inside_is_another_outside(box: Rig) -> None:
    await box.backend.start(writable(box, "other"))
    (found, other) = (box.record(name) for name in ("box", "other"))
    assert found.uid is not None and found.uid >= 1_900_000_000  # noqa: PT018 (one is about the other)
    assert other.uid is not None and abs(found.uid - other.uid) >= 65536  # noqa: PT018
    assert next(iter(await box.backend.list())).isolation.root is True
    code = "import os; result = [os.getresuid(), open('/proc/self/uid_map').read().split()]"
    assert await box.result("box", code) == [[0, 0, 0], ["0", str(found.uid), "65536"]]
    status = await box.result("box", "result = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())")
    allowed = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 10, 31))
    assert int(status["CapEff"], 16) & ~allowed == 0
    assert int(status["CapPrm"], 16) & ~allowed == 0
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")


@pytest.mark.promise("files.root")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="about a server started by root")
async def test_root_acts_as_any_user_inside(box: Rig) -> None:
    code = """
    import os, subprocess
    subprocess.run(["chown", "1234:4321", "/tmp"], check=True)
    who = subprocess.run(["id", "-u"], user=1000, group=1000, extra_groups=[], capture_output=True, text=True).stdout
    result = [os.stat("/tmp").st_uid, os.stat("/tmp").st_gid, who, os.stat("/home/user").st_uid, os.stat("/usr/bin").st_uid]
    """
    assert await box.result("box", code) == [1234, 4321, "1000\n", 1000, 0]


CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    ctypes.set_errno(0)
    return [libc.syscall(*arguments), ctypes.get_errno()]
"""
FORBIDDEN = {
    "mount": "call(165, b'none', b'/mnt', b'tmpfs', 0, 0)",
    "umount": "call(166, b'/proc', 2)",
    "unshare user": "call(272, 0x10000000)",
    "unshare mount": "call(272, 0x20000)",
    "setns": "call(308, os.open('/proc/self/ns/user', os.O_RDONLY), 0)",
    "pivot_root": "call(155, b'/tmp', b'/tmp')",
    "chroot": "call(161, b'/tmp')",
    "ptrace": "call(101, 16, 1, 0, 0)",
    "bpf": "call(321, 0, 0, 0)",
    "open_by_handle_at": "call(304, -100, b'', 0)",
    "init_module": "call(175, b'', 0, b'')",
    "a block device": "call(133, b'/tmp/disk', 0o60600, os.makedev(8, 0))",
    "a character device": "call(133, b'/tmp/mem', 0o20600, os.makedev(1, 1))",
    "the clock": "call(227, 0, ctypes.byref(ctypes.c_longlong(0)))",
    "reboot": "call(169, 0xfee1dead, 672274793, 0x1234567, 0)",
    "the memory of the first process": "call(2, b'/proc/1/mem', 2)",
    "raw sockets": "call(41, 17, 3, 0)",
}


@pytest.mark.promise("files.root_limits")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="about a server started by root")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's")
@pytest.mark.parametrize("attempt", FORBIDDEN)
async def test_root_is_refused(box: Rig, attempt: str) -> None:
    result, number = await box.result("box", f"{CALL}\nresult = {FORBIDDEN[attempt]}")
    assert result == -1, attempt
    assert number in {1, 13, 97}, attempt


@pytest.mark.promise("files.root_limits")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="about a server started by root")
async def test_root_raises_no_limit(box: Rig) -> None:
    code = """
    import resource
    result = []
    for name in ("RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_CORE"):
        what = getattr(resource, name)
        before = resource.getrlimit(what)
        try:
            resource.setrlimit(what, (before[1] + 1, before[1] + 1))
        except (OSError, ValueError):
            pass
        result.append(resource.getrlimit(what) == before)
    for path in ("/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger"):
        try:
            open(path, "w").write("1")
            result.append(path)
        except OSError:
            result.append(True)
    """
    assert set(await box.result("box", code)) == {True}
    assert "No space" in await shell(box, "box", "dd if=/dev/zero of=/usr/share/fill bs=1M count=80 2>&1")


@pytest.mark.promise("files.root_limits")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="about a server started by root")
async def test_root_starts_no_more_processes_than_it_may(box: Rig) -> None:
    code = """
    import os, signal
    started = []
    try:
        for _ in range(120):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            started.append(pid)
    except OSError:
        pass
    for pid in started:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    result = len(started)
    """
    assert 0 < await box.result("box", code) <= LIMITS.processes


@pytest.mark.promise("files.root_limits")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="about a server started by root")
async def test_root_neither_reads_nor_writes_the_hosts_files(box: Rig, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    outside = tmp_path / "shown"
    outside.mkdir()
    (outside / "private").write_text("x")
    (outside / "private").chmod(0o600)
    os.chown(outside / "private", 4242, 4242)
    await box.backend.start(writable(box, "other", mounts=(*writable(box, "other").mounts, Mount(outside, "/shown", "ro"))))
    assert await box.result("other", f"import os; result = os.path.exists({str(secret)!r})") is False
    assert (await box.run("other", "open('/shown/new', 'w')")).errno == 30
    assert (await box.run("other", "open('/shown/private').read()")).error == "PermissionError"
    assert await box.result("other", "import os; result = [int(n) for n in os.listdir('/proc') if n.isdigit()]")
    assert (await box.run("other", "import os; os.kill(-1, 0)")).error in {None, "ProcessLookupError"}


@pytest.mark.promise("files.packages")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT or not Path("/usr/bin/dpkg-deb").exists(), reason="about a server started by root on Debian")
async def test_a_package_with_a_script_that_adds_a_user_installs(tmp_path: Path) -> None:
    script = """
    set -e
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
    mkdir -p /tmp/p/DEBIAN /tmp/p/usr/bin /tmp/p/var/lib/tried
    printf 'Package: tried\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.com>\\nDescription: t\\n' > /tmp/p/DEBIAN/control
    printf '#!/bin/sh\\nset -e\\nuseradd --system --no-create-home tried\\nchown tried /var/lib/tried\\n' > /tmp/p/DEBIAN/postinst
    chmod 755 /tmp/p/DEBIAN/postinst
    printf '#!/bin/sh\\necho it runs\\n' > /tmp/p/usr/bin/tried
    chmod 755 /tmp/p/usr/bin/tried
    dpkg-deb -b /tmp/p /tmp/tried.deb > /dev/null
    dpkg -i /tmp/tried.deb > /tmp/log 2>&1 || cat /tmp/log
    tried
    stat -c %U /var/lib/tried
    """
    async with rig(tmp_path) as made:
        await made.backend.start(writable(made, "box", env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}))
        assert await shell(made, "box", script) == "it runs\ntried\n"


@pytest.mark.promise("files.command_user")
async def test_a_command_is_the_users_unless_it_is_asked_for_as_root(tmp_path: Path) -> None:
    code = """
    import os
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    result = [os.getresuid(), os.getresgid(), os.getgroups(), [int(status[f"Cap{kind}"], 16) for kind in ("Prm", "Eff", "Amb")]]
    """
    async with rig(tmp_path) as made:
        await made.backend.start(writable(made, "box", user="user"))
        assert await made.result("box", code) == [[1000] * 3, [1000] * 3, [1000] if ROOT else [], [0] * 3]
        assert (await made.run("box", "open('/etc/mine', 'w')")).error == ("PermissionError" if ROOT else None)
        with pytest.raises(StartFailed, match=r"no user 'nobody-here'|no mapped root"):
            await made.backend.start(writable(made, "other", user="nobody-here" if ROOT else "root"))


@pytest.mark.promise("files.guest")
async def test_without_a_command_the_guest_lives_until_it_is_stopped(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await made.backend.start(writable(made, "box", command=()))
        sock = await made.backend.connect("box", 49983)
        sock.close()
        assert [found.sandbox_id for found in await made.backend.list()] == ["box"]
        await made.backend.stop("box")
        assert await made.backend.list() == []
