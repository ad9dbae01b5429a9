"""Reading where the control groups are, and using those of this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandyard.backends.process.cgroupfs import hierarchies
from sandyard.backends.process.cgroups import Cgroups, Group
from sandyard.domain.specs import MEBIBYTE, Limits

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID_MEMBERSHIPS = "9:name=systemd:/\n4:memory:/a/b\n1:cpuacct,cpu:/\n0::/\n"


def test_hybrid_hosts_have_each_controller_where_it_is_mounted() -> None:
    found = {h.own: (h.version, h.depth, h.controllers) for h in hierarchies(HYBRID, HYBRID_MEMBERSHIPS)}
    assert found == {
        Path("/sys/fs/cgroup/cpu,cpuacct"): (1, 0, {"cpu", "cpuacct"}),
        Path("/sys/fs/cgroup/memory/a/b"): (1, 2, {"memory"}),
        Path("/sys/fs/cgroup/systemd"): (1, 0, {"name=systemd"}),
        Path("/sys/fs/cgroup/unified"): (2, 0, frozenset()),
    }


def test_version_2_below_a_user_manager() -> None:
    (only,) = hierarchies(
        "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user.slice/user@1000.service/app.slice/x.scope\n"
    )
    assert (only.version, only.own, only.depth) == (2, Path("/sys/fs/cgroup/user.slice/user@1000.service/app.slice/x.scope"), 4)


@pytest.mark.parametrize(
    ("root", "membership", "own"),
    [
        ("/docker/abc", "/docker/abc", "/sys/fs/cgroup"),  # Docker shows the mount's root from outside
        ("/docker/abc", "/docker/abc/inner", "/sys/fs/cgroup/inner"),
        ("/", "/../../elsewhere", "/sys/fs/cgroup"),  # a cgroup namespace that we are not below
        ("/docker/abc", "/", "/sys/fs/cgroup"),
    ],
)
def test_containers(root: str, membership: str, own: str) -> None:
    (only,) = hierarchies(f"29 23 0:26 {root} /sys/fs/cgroup ro - cgroup2 cgroup rw\n", f"0::{membership}\n")
    assert only.own == Path(own)


@pytest.mark.promise("cgroups.honest")
def test_a_host_without_cgroups_is_said_to_limit_nothing() -> None:
    found = Cgroups("none", [])
    assert (found.enforced, found.can_freeze, found.names()) == ((), False, set())
    assert any("Not limited: memory, cpu, processes" in note for note in found.explain())
    assert any("pause" in note for note in found.explain())
    group = found.create("a", Limits())
    assert (group.enter_paths, group.kill(), group.remove(), group.oom_kills(), group.memory_bytes()) == ((), True, True, 0, None)
    with pytest.raises(OSError, match="no control group"):
        group.freeze()


@pytest.mark.promise("cgroups.honest")
def test_a_read_only_mount_is_not_reported_as_enforced(tmp_path: Path) -> None:
    """As in a container: cgroup files are there to be read, and nothing can be made."""
    listed = (
        f"29 23 0:26 / {tmp_path / 'absent'} ro - cgroup2 cgroup ro\n30 23 0:27 / {tmp_path / 'absent1'} ro - cgroup cgroup ro,memory\n"
    )
    found = Cgroups("ro", hierarchies(listed, "1:memory:/\n0::/\n"))
    assert (found.enforced, found.can_freeze) == ((), False)


@pytest.mark.parametrize("sandbox_id", ["", "..", "a/b", "."])
def test_an_id_that_is_a_path_is_refused(sandbox_id: str) -> None:
    with pytest.raises(ValueError, match="name of a group"):
        Cgroups("none", []).adopt(sandbox_id)


@pytest.mark.promise("cgroups.limits")
def test_the_files_of_version_2_get_the_limits_in_their_units(tmp_path: Path) -> None:
    """A stand-in of plain files, for a machine whose controllers are all in version 1."""
    files = ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "memory.events", "memory.current")
    for name in files:
        (tmp_path / name).touch()
    group = Group(dict.fromkeys(("memory", "cpu", "pids"), tmp_path))
    group.limit(Limits(memory_bytes=256 * MEBIBYTE, cpus=1.5, processes=9))
    assert {name: (tmp_path / name).read_text() for name in files[:4]} == {
        "memory.max": str(256 * MEBIBYTE),
        "memory.swap.max": "0",
        "cpu.max": "150000 100000",
        "pids.max": "9",
    }
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    (tmp_path / "memory.current").write_text("4096\n")
    assert (group.oom_kills(), group.memory_bytes(), group.enter_paths) == (2, 4096, (tmp_path / "cgroup.procs",))


# What follows uses the groups of this machine, which needs root or a delegated group.


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    found = Cgroups.discover(f"test-{uuid.uuid4().hex[:8]}")
    yield found
    for sandbox_id in found.names():
        found.adopt(sandbox_id).kill()
        found.adopt(sandbox_id).remove()
    found.remove_scope()
    assert found.names() == set()


@contextlib.contextmanager
def member(group: Group, code: str) -> Generator[subprocess.Popen[str]]:
    """Run Python `code` in `group`; it is there when the first line has been printed."""
    enter = "".join(f"open({str(path)!r}, 'w').write('0')\n" for path in group.enter_paths)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"import os, sys, time\n{enter}{code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            group.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def needs(cgroups: Cgroups, *limits: str, freeze: bool = False) -> None:
    if not set(limits) <= set(cgroups.enforced) or (freeze and not cgroups.can_freeze):
        pytest.skip("this machine lets us use no control group for that: " + " ".join(cgroups.explain()))


@pytest.mark.promise("cgroups.limits")
def test_memory_is_bounded_and_the_kill_is_counted(cgroups: Cgroups) -> None:
    needs(cgroups, "memory")
    group = cgroups.create("s", Limits(memory_bytes=32 * MEBIBYTE))
    with member(group, "print('in', flush=True); b = bytearray(128 << 20)") as process:
        assert line(process) == "in"
        assert process.wait(30) == -9
    assert group.oom_kills() == 1
    assert (group.memory_bytes() or 0) <= 32 * MEBIBYTE


@pytest.mark.promise("cgroups.limits")
def test_processes_are_bounded(cgroups: Cgroups) -> None:
    needs(cgroups, "processes")
    group = cgroups.create("s", Limits(processes=5))
    bomb = """
made = 0
try:
    while made < 50:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
except BlockingIOError:
    pass
print(made, flush=True)
time.sleep(60)
"""
    with member(group, bomb) as process:
        assert line(process) == "4"


@pytest.mark.promise("cgroups.limits")
def test_processor_time_is_bounded(cgroups: Cgroups) -> None:
    needs(cgroups, "cpu")
    group = cgroups.create("s", Limits(cpus=0.2))
    spin = "t = time.monotonic()\nwhile time.monotonic() - t < 1: pass\nprint(time.process_time(), flush=True)"
    with member(group, spin) as process:
        assert float(line(process)) < 0.6


@pytest.mark.promise("cgroups.freeze")
def test_freezing_is_confirmed_and_stops_the_clock_of_the_group(cgroups: Cgroups) -> None:
    needs(cgroups, freeze=True)
    group = cgroups.create("s", Limits())
    with member(group, "print(os.getpid(), flush=True)\nwhile True: pass") as process:
        stat = Path(f"/proc/{line(process)}/stat")
        assert not group.frozen
        group.freeze()
        assert group.frozen
        before = stat.read_text().split()[13:15]
        time.sleep(0.1)  # the property is about time that passes
        assert stat.read_text().split()[13:15] == before
        group.thaw()
        assert not group.frozen


@pytest.mark.promise("cgroups.kill")
@pytest.mark.parametrize("frozen", [True, False])
def test_killing_leaves_no_process(cgroups: Cgroups, frozen: bool) -> None:
    needs(cgroups, "processes", freeze=frozen)
    group = cgroups.create("s", Limits(processes=64))
    # Every process of the group forks, and each fork costs one of 200 tokens: there never are more, whatever limits the group.
    forker = """
import signal
tokens, filling = os.pipe()
os.write(filling, bytes(200))
print('in', flush=True)
signal.alarm(60)
while os.read(tokens, 1):
    try:
        if os.fork(): time.sleep(0.001)
        else: signal.alarm(60)
    except OSError:  # at the limit: the token is not spent
        os.write(filling, b"x")
        time.sleep(0.001)
"""
    with member(group, forker) as process:
        line(process)
        if frozen:
            group.freeze()
        assert group.kill()
        assert group.pids() == set()
        assert process.wait(5) == -9
    assert group.remove()


@pytest.mark.promise("cgroups.nothing-left")
def test_groups_are_listed_adopted_and_removed(cgroups: Cgroups) -> None:
    needs(cgroups, freeze=True)
    group = cgroups.create("s1", Limits())
    cgroups.create("s2", Limits())
    again = Cgroups.discover(cgroups.scope)
    assert again.names() == {"s1", "s2"}
    with member(group, "print('in', flush=True); time.sleep(60)") as process:
        line(process)
        assert not again.adopt("s1").remove(timeout=0.05)
        assert again.adopt("s1").pids() == {process.pid}
        assert again.adopt("s1").kill()
    assert [again.adopt(s).remove() for s in ("s1", "s2")] == [True, True]
    again.remove_scope()
    assert list(Path("/sys/fs/cgroup").rglob(f"sandyard-{cgroups.scope}")) == []


@pytest.mark.promise("cgroups.honest")
@pytest.mark.needs_root  # only root can become a user to whom nothing is delegated
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_is_told_what_is_not_limited() -> None:
    code = "import os\nfrom sandyard.backends.process.cgroups import Cgroups\nos.setresuid(65534, 65534, 65534)\n"
    code += "c = Cgroups.discover('nobody')\nprint(c.enforced, c.can_freeze, *c.explain())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("() False Not limited: memory, cpu, processes (an ordinary user needs a delegated control group")
