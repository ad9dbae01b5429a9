"""What a sandbox must not be able to do, tried from inside by a hostile agent: each attempt on one running sandbox."""

# ruff: noqa: ASYNC240 (reading /proc and temporary directories does not block)
from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.sandboxes import PROBE_IN_TURN, Rig, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sandyard.domain.sandboxes import Isolation
    from sandyard.domain.specs import Started

pytestmark = pytest.mark.anyio

EPERM, EACCES, EROFS, ENOSYS = 1, 13, 30, 38
ROOT = os.geteuid() == 0
needs_root = [pytest.mark.needs_root, pytest.mark.skipif(not ROOT, reason="about a server started by root")]


@pytest.fixture
async def started(tmp_path: Path) -> AsyncGenerator[tuple[Rig, Started]]:
    async with rig(tmp_path) as made:
        yield made, await made.backend.start(made.spec("box"))


@pytest.fixture
def inside(started: tuple[Rig, Started]) -> Rig:
    """A back end with one sandbox, "box"."""
    return started[0]


@pytest.fixture
def isolation(started: tuple[Rig, Started]) -> Isolation:
    """What that sandbox was said to have."""
    return started[1].isolation


STATUS = "result = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())"
CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    ctypes.set_errno(0)
    return [libc.syscall(*arguments), ctypes.get_errno()]
"""


@pytest.mark.promise("process.own_uid")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="about a server started by root")
async def test_a_uid_of_its_own(inside: Rig, isolation: Isolation) -> None:
    await inside.backend.start(inside.spec("other"))
    own = {uid for name in ("box", "other") if (uid := inside.record(name).uid) is not None}
    uids = {Path(f"/proc/{inside.first(name)}/task").stat().st_uid for name in ("box", "other")} | own
    assert len(own) == 2
    assert min(own) >= 1_900_000_000
    assert uids - own <= {0}  # an undumpable process's files in /proc are root's
    assert await inside.result("box", "import os; result = os.getresuid()") == [1000, 1000, 1000]
    assert (isolation.user, isolation.seccomp, isolation.disk_limit) == ("own", True, True)
    host_uid = "import os; result = open('/proc/self/uid_map').read().split()"
    assert (await inside.result("box", host_uid))[0] == "1000"


@pytest.mark.promise("process.no_capabilities", "process.seccomp")
async def test_no_capability_no_new_privileges_a_filter(inside: Rig) -> None:
    status = await inside.result("box", STATUS)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"


@pytest.mark.promise("process.namespaces")
async def test_every_namespace_is_another_than_ours(inside: Rig) -> None:
    names = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")
    found = await inside.result("box", f"import os; result = {{n: os.readlink('/proc/self/ns/' + n) for n in {names}}}")
    ours = {name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in names}
    assert [name for name in names if found[name] == ours[name]] == []
    assert await inside.result("box", "import socket; result = [n for _, n in socket.if_nameindex()]") == ["lo"]
    assert await inside.result("box", "import os; result = os.uname().nodename") == "box"
    pids = await inside.result("box", "import os; result = [int(n) for n in os.listdir('/proc') if n.isdigit()]")
    assert max(pids) < 20


@pytest.mark.promise("process.empty_environment")
async def test_the_environment_is_what_was_meant_and_nothing_else(inside: Rig) -> None:
    os.environ["SANDYARD_TEST_SECRET"] = "x"
    try:
        await inside.backend.start(inside.spec("second", env={"ONLY": "this"}))
    finally:
        del os.environ["SANDYARD_TEST_SECRET"]
    assert set(await inside.result("second", "import os; result = dict(os.environ)")) - {"LC_CTYPE"} == {"ONLY"}


@pytest.mark.promise("process.host_files")
async def test_host_files_are_out_of_sight(inside: Rig) -> None:
    secret = inside.data.parent / "secret"
    secret.write_text("x")
    for path in ("/etc/shadow", "/root", "/home/other", str(secret), str(inside.data), "/var/lib", "/sys", "/boot"):
        if path == "/root" and not Path("/root").exists():
            continue
        code = f"import os; result = os.path.exists({path!r}) and not {path!r} == '/root'"
        assert await inside.result("box", code) is False, path
    assert (await inside.run("box", "open('/proc/1/root/etc/shadow')")).error in ("PermissionError", "FileNotFoundError")
    assert (await inside.run("box", "open('/proc/1/mem', 'rb').read(1)")).error == "PermissionError"
    assert (await inside.run("box", "import os; result = os.listdir('/proc/1/fd')")).error == "PermissionError"


@pytest.mark.promise("process.read_only_system")
@pytest.mark.parametrize("path", ["/x", "/usr/x", "/etc/x", "/opt/x", "/opt/sandyard/sandkit/x", "/dev/x", "/run/x", "/var/x", "/home/x"])
async def test_the_system_cannot_be_written(inside: Rig, path: str) -> None:
    answer = await inside.run("box", f"open({path!r}, 'w')")
    assert answer.errno in (EROFS, EACCES, EPERM), answer


@pytest.mark.promise("process.read_only_system")
@pytest.mark.parametrize("path", ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger"])
async def test_kernel_settings_cannot_be_written(inside: Rig, path: str) -> None:
    answer = await inside.run("box", f"open({path!r}, 'w').write('x')")
    assert answer.error in ("PermissionError", "OSError", "FileNotFoundError"), answer


@pytest.mark.promise("process.writable_space")
async def test_home_tmp_app_and_shared_memory_can_be_written(inside: Rig) -> None:
    turned = "import os; os.unlink('/app/main.py'); os.mkdir('/app/main.py'); result = os.listdir('/app/main.py')"
    assert await inside.result("box", turned) == []
    removed = "import os; os.rmdir('/app/main.py'); result = os.path.lexists('/app/main.py')"
    assert await inside.result("box", removed) is False
    for path in ("/home/user/x", "/tmp/x", "/app/x", "/dev/shm/x", "/var/tmp/x"):
        assert await inside.result("box", f"open({path!r}, 'w').write('x'); result = 1") == 1
    assert await inside.result("box", "open('/app/main.py', 'a').write('#'); result = 1") == 1
    assert not (inside.data.parent / "app-box" / "x").exists()
    assert not (inside.data.parent / "app-box" / "main.py").read_text().endswith("#")


@pytest.mark.promise("process.writable_space")
@pytest.mark.parametrize("place", ["/tmp", "/home/user", "/app", "/dev/shm"])
async def test_all_that_can_be_written_is_limited_together(inside: Rig, place: str) -> None:
    code = f"""
    result = 0
    with open('{place}/fill', 'wb') as file:
        for _ in range(100):
            file.write(bytes(1 << 20)); file.flush(); result += 1
    """
    answer = await inside.run("box", code)
    assert answer.errno == 28, answer
    assert await inside.result("box", "result = kept_alive = 1") == 1
    many = f"import os\nfor n in range(1_000_000): os.symlink('x', '{place}/s%d' % n)"
    assert (await inside.run("box", many)).errno == 28


@pytest.mark.promise("process.network")
async def test_the_hosts_network_is_out_of_reach(inside: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0sandyard-test-{os.getpid()}"
        abstract.bind(name)
        abstract.listen()
        port = tcp.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        assert (await inside.run("box", code)).error == "ConnectionRefusedError"
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})"
        assert (await inside.run("box", code)).error == "ConnectionRefusedError"
    assert (await inside.run("box", "import socket; socket.create_connection(('192.0.2.1', 80), 2)")).errno == 101
    for family in ("AF_VSOCK", "AF_PACKET", "AF_ALG", "AF_BLUETOOTH"):
        assert (await inside.run("box", f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM)")).error, family


@pytest.mark.promise("process.kernel_surface")
@pytest.mark.parametrize(
    "attempt",
    [
        "unshare",
        "clone_user",
        "mount",
        "ptrace",
        "keyctl",
        "add_key",
        "io_uring_setup",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "setns",
        "open_tree",
        "chroot",
        "mknod",
    ],
)
async def test_kernel_calls_that_no_agent_needs_are_refused(inside: Rig, attempt: str) -> None:
    calls = {
        "unshare": "call(272, 0x10000000)",
        "clone_user": "call(56, 0x10000011, 0, 0, 0, 0)",
        "mount": "call(165, b'none', b'/tmp', b'tmpfs', 0, None)",
        "ptrace": "call(101, 16, 1, 0, 0)",
        "keyctl": "call(250, 0, -3, 0)",
        "add_key": "call(248, b'user', b'x', b'y', 1, -3)",
        "io_uring_setup": "call(425, 1, ctypes.create_string_buffer(256))",
        "bpf": "call(321, 0, 0, 0)",
        "perf_event_open": "call(298, ctypes.create_string_buffer(256), 0, -1, -1, 0)",
        "userfaultfd": "call(323, 1)",
        "setns": "call(308, os.open('/proc/self/ns/user', 0), 0)",
        "open_tree": "call(428, -100, b'/', 1)",
        "chroot": "call(161, b'/tmp')",
        "mknod": "call(133, b'/tmp/null', 0o20666, 0x103)",
    }
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers here are x86_64's")
    value, number = await inside.result("box", f"{CALL}\nresult = {calls[attempt]}")
    assert value == -1
    assert number in (EPERM, EACCES, ENOSYS), number


@pytest.mark.promise("process.neighbours")
async def test_neighbours_neither_see_nor_touch_each_other(inside: Rig) -> None:
    await inside.backend.start(inside.spec("other"))
    await inside.result("other", "open('/tmp/mine', 'w').write('x'); open('/home/user/mine', 'w').write('x'); result = 1")
    assert await inside.result("box", "import os; result = os.listdir('/tmp') + os.listdir('/home/user')") == []
    await inside.run("box", "import os, signal\nfor pid in range(2, 100):\n  if pid != os.getpid(): os.kill(pid, 9)")
    assert await inside.result("other", "result = 1") == 1


@pytest.mark.promise("process.descriptors")
async def test_the_agent_inherits_three_descriptors(inside: Rig) -> None:
    code = "import os; result = sorted(int(n) for n in os.listdir('/proc/self/fd')); first = os.readlink('/proc/self/fd/0')"
    descriptors = await inside.result("box", code)
    kinds = await inside.result(
        "box",
        "import os; result = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if int(n) < 64 and os.path.lexists(f'/proc/self/fd/{n}')]",
    )
    assert {0, 1, 2} <= set(descriptors)
    allowed = ("/dev/null", "pipe:", "socket:", "/proc/", "anon_inode:")
    assert [kind for kind in kinds if not kind.startswith(allowed)] == []
    assert len([kind for kind in kinds if kind.startswith("pipe:")]) == 2  # stdout and stderr


@pytest.mark.promise("process.neighbours", "process.limits")
async def test_a_memory_bomb_hurts_only_itself(inside: Rig, isolation: Isolation) -> None:
    if "memory" not in isolation.limits:
        assert any("Not limited: memory" in note for note in isolation.notes)
        pytest.skip("this host grants no memory limit")
    await inside.backend.start(
        inside.spec(
            "bomb",
            "import time\nimport socket\ns = socket.create_server(('127.0.0.1', 8080))\nwhile True:\n  s.accept()[0].recv(1) and None\n  kept = [bytearray(1 << 20) for _ in range(1000)]",
        )
    )
    (await inside.backend.connect("bomb", 8080)).close()
    async for exited in inside.backend.exits():
        assert exited.sandbox_id == "bomb"
        assert "ran out of its 256 MiB of memory" in exited.reason
        break
    assert await inside.result("box", "result = 1") == 1


@pytest.mark.promise("process.neighbours", "process.limits", "process.limits_inside")
async def test_a_fork_bomb_hurts_only_itself(inside: Rig, isolation: Isolation) -> None:
    if "processes" not in isolation.limits:
        assert any("Not limited" in note and "processes" in note for note in isolation.notes)
        pytest.skip("nothing limits the number of processes here: an old kernel, or root's own uid")
    code = """
    import os, time
    result = 0
    try:
        while result < 200:
            if os.fork() == 0:
                time.sleep(300)
                os._exit(0)
            result += 1
    except BlockingIOError:
        pass
    """
    for name in ("one", "other"):
        await inside.backend.start(inside.spec(name, PROBE_IN_TURN))
    made = await inside.result("one", code)
    assert 0 < made <= 64
    assert await inside.result("other", code) == made  # each has a count of its own, also where they share a uid
    raised = await inside.run("one", "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (4096, 4096))")
    assert raised.error in (None, "ValueError")
    assert await inside.result("one", code) == 0
    await inside.backend.stop("one")


@pytest.mark.promise("process.private_home")
@pytest.mark.needs_root
@pytest.mark.skipif(not ROOT, reason="an ordinary user's home is the sandboxes' user's own")
async def test_everything_may_lie_under_a_private_home(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    async with rig(tmp_path) as made:
        (tmp_path / "app-box").mkdir(mode=0o700)
        await made.backend.start(made.spec("box"))
        assert await made.result("box", "result = open('/app/main.py').read()[:1]")
