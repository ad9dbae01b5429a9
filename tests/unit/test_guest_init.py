"""The guest as the first process of real namespaces."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandkit.guest import output
from support.guests import MAIN, NAMESPACES, PYTHON, RunningGuest, guest, python

if TYPE_CHECKING:
    from collections.abc import Generator


def report(running: RunningGuest) -> dict[str, int | str | None] | None:
    return output.report(running.file)


@pytest.mark.promise("guest.exit-report")
@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_the_exit_code_and_the_last_output_are_reported(tmp_path: Path, code: int) -> None:
    with guest(tmp_path, python(f"import sys; print('out'); print('err', file=sys.stderr); sys.exit({code})")) as running:
        assert running.event() == {"event": "exited", "code": code, "signal": None}
        assert running.wait() == code
        assert report(running) == {"code": code, "signal": None, "error": ""}
        assert output.read(running.file) == (b"out\nerr\n", 8)


@pytest.mark.promise("guest.exit-report")
def test_a_killing_signal_is_reported(tmp_path: Path) -> None:
    with guest(tmp_path, python("import os; print('last', flush=True); os.kill(os.getpid(), 9)")) as running:
        assert running.event() == {"event": "exited", "code": None, "signal": 9}
        assert running.wait() == 137
        assert report(running) == {"code": None, "signal": 9, "error": ""}
        assert output.tail(running.file) == b"last\n"


@pytest.mark.promise("guest.exit-report")
@pytest.mark.parametrize(
    ("command", "more", "code", "words"),
    [
        (["/nowhere/python"], {}, 127, "/nowhere/python"),
        (["/etc/passwd"], {}, 126, "/etc/passwd"),
        (["true"], {"cwd": "/nowhere"}, 127, "/nowhere"),
    ],
)
def test_a_command_that_cannot_start_is_said_in_a_sentence(
    tmp_path: Path, command: list[str], more: dict[str, Any], code: int, words: str
) -> None:
    with guest(tmp_path, command, **more) as running:
        assert running.event() == {"event": "exited", "code": code, "signal": None}
        assert running.wait() == code
        found = report(running)
        assert found is not None
        assert found["code"] == code
        assert words in str(found["error"])
        assert words.encode() in output.tail(running.file)


@pytest.mark.parametrize(
    "config", ["", "{", "[]", "null", '{"command": 3}', '{"command": ["true"]}', '{"command": ["true"], "cwd": "/", "env": []}']
)
def test_a_broken_configuration_is_said_in_a_sentence(tmp_path: Path, config: str) -> None:
    with guest(tmp_path, [], config=config) as running:
        assert running.wait() == 125
        assert "configuration" in str((report(running) or {})["error"])


@pytest.mark.promise("guest.no-descriptors")
def test_the_agent_inherits_three_descriptors_and_its_environment(tmp_path: Path) -> None:
    look = "import os; d = os.open('/proc/self/fd', 0); print(sorted(int(n) for n in os.listdir(d)), d, os.readlink('/proc/self/fd/0'), dict(os.environ))"
    os.set_inheritable(stray := os.open("/dev/null", os.O_RDONLY), True)
    try:
        with guest(tmp_path, python(look), env={"A": "1", "B": "ü"}) as running:
            assert running.wait() == 0
    finally:
        os.close(stray)
    printed = output.tail(running.file).decode()
    assert printed.startswith("[0, 1, 2, 3, 4] 3 /dev/null ")  # listing opens two of its own
    assert "'A': '1', 'B': 'ü'" in printed


@pytest.mark.promise("envd.commandless")
def test_without_a_command_it_lives_until_it_is_told_to_end(tmp_path: Path) -> None:
    with guest(tmp_path, []) as running:
        assert running.event() == {"event": "listening"}
        assert running.event(0.3) is None, "it went on by itself"
        os.kill(running.first, signal.SIGTERM)
        assert running.event() == {"event": "exited", "code": 0, "signal": None}
        assert running.wait() == 0
        assert report(running) == {"code": 0, "signal": None, "error": ""}


@pytest.mark.promise("envd.commandless")
def test_without_isolation_what_clients_started_ends_with_it(tmp_path: Path) -> None:
    """The client is a process beside the guest, in its network."""
    client = """
import json, socket, struct
message = json.dumps({"process": {"cmd": "/bin/sleep", "args": ["60"]}}).encode()
with socket.create_connection(("127.0.0.1", 49983), 10) as s:
    s.sendall(b"POST /process.Process/Start HTTP/1.1\\r\\nContent-Type: application/connect+json\\r\\nContent-Length: %d\\r\\n\\r\\n" % (len(message) + 5))
    s.sendall(struct.pack(">BI", 0, len(message)) + message)
    seen = b""
    while b'"pid":' not in seen: seen += s.recv(4096)
print(int(seen.partition(b'"pid":')[2].partition(b"}")[0]), flush=True)
input()
"""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "client.py").write_text(client)
    namespaces = ("--unshare-user", "--unshare-net", "--dev-bind", "/", "/")
    command = ["sh", "-c", f"{PYTHON} -I -S {tmp_path}/client.py < {fifo}"]
    with guest(tmp_path, command, namespaces=namespaces, env={"HOME": str(tmp_path)}) as running:
        with fifo.open("w") as writing:
            child = os.pidfd_open(int(running.printed(b"\n")))
            writing.write("go\n")
        assert running.wait() == 0
    try:
        assert select.select([child], [], [], 10)[0], "what its client started lives on"
    finally:
        os.close(child)


@contextlib.contextmanager
def _ignored(*numbers: signal.Signals) -> Generator[None]:
    """Ignore signals as a shell does for what it starts in the background; what is started meanwhile inherits it."""
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, action in zip(numbers, before, strict=True):
            signal.signal(number, action)


@pytest.mark.promise("guest.no-descriptors")
def test_signals_have_their_default_actions_for_the_agent(tmp_path: Path) -> None:
    with _ignored(signal.SIGINT, signal.SIGQUIT), guest(tmp_path, ["cat", "/proc/self/status"]) as running:
        assert running.wait() == 0
    masks = {name: int(mask, 16) for name, mask in re.findall(r"(Sig\w+):\t(\w+)", output.tail(running.file).decode())}
    standard = (1 << 31) - 1  # the others are the C library's own
    assert [masks[name] & standard for name in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


@pytest.mark.promise("guest.first-process")
def test_a_grandchild_that_holds_the_pipe_does_not_hold_the_sandbox(tmp_path: Path) -> None:
    leaver = """
import os, signal
for stubborn in range(20):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork(): os._exit(0)
        os.write(1, b"x")
        while True: signal.pause()
while True:
    try: os.wait()
    except ChildProcessError: break
print("leaves", flush=True)
"""
    with guest(tmp_path, python(leaver)) as running:
        assert running.event() == {"event": "exited", "code": 0, "signal": None}
        assert running.wait() == 0
        assert b"leaves" in output.tail(running.file)


@pytest.mark.promise("guest.first-process")
def test_orphans_are_reaped(tmp_path: Path) -> None:
    orphans = """
import os, time
for _ in range(50):
    if os.fork() == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.wait()
deadline = time.monotonic() + 20
while len(pids := [p for p in os.listdir("/proc") if p.isdigit()]) > 2 and time.monotonic() < deadline: time.sleep(0.01)
print(sorted(map(int, pids)) , os.getppid())
"""
    with guest(tmp_path, python(orphans)) as running:
        assert running.wait() == 0
    assert output.tail(running.file) == b"[1, 2] 1\n"


@pytest.mark.promise("guest.first-process")
def test_when_memory_runs_out_the_agent_goes_first(tmp_path: Path) -> None:
    with guest(tmp_path, python("print(open('/proc/self/oom_score_adj').read()); import signal; signal.pause()")) as running:
        agent = int(running.printed(b"\n").split()[0])
        assert agent > int(Path(f"/proc/{running.first}/oom_score_adj").read_text())


@pytest.mark.promise("guest.not-dumpable")
def test_the_agent_cannot_look_into_the_guest(tmp_path: Path) -> None:
    look = """
import os
for name in ("mem", "environ", "maps", "auxv", "fd/4", "root", "cwd", "exe"):
    try:
        path = f"/proc/1/{name}"
        {"fd/4": os.readlink, "root": os.listdir, "cwd": os.listdir, "exe": os.readlink}.get(name, lambda p: open(p, "rb").read(1))(path)
        print("open", name)
    except PermissionError:
        pass
try: os.kill(1, 9)
except OSError as error: print(error)
print("done")
"""
    user = ("--uid", "1000", "--gid", "1000", "--cap-drop", "ALL")
    with guest(tmp_path, python(look), namespaces=(*NAMESPACES, *user)) as running:
        assert running.wait() == 0
    assert output.tail(running.file) == b"done\n"


@pytest.mark.promise("guest.listening")
def test_listening_is_said_once_and_only_when_true(tmp_path: Path) -> None:
    server = """
import os, socket, time
print("starts", flush=True)
time.sleep(0.3)
s = socket.create_server(("127.0.0.1", 8080))
while True: s.accept()[0].close()
"""
    with guest(tmp_path, python(server), ready_port=8080) as running:
        running.printed(b"starts")
        assert running.event(0.1) is None
        assert running.event() == {"event": "listening"}
        assert running.event(0.2) is None


@pytest.mark.promise("guest.listening")
def test_an_agent_that_ends_before_it_listens_is_reported_as_ended(tmp_path: Path) -> None:
    with guest(tmp_path, python("print('no'); raise SystemExit(4)"), ready_port=8080) as running:
        assert running.event() == {"event": "exited", "code": 4, "signal": None}


@pytest.mark.promise("guest.output-bounded")
def test_a_hundred_megabytes_of_output_pass_and_the_last_are_kept(tmp_path: Path) -> None:
    with guest(
        tmp_path,
        python("import sys\nfor i in range(100): print('x' * (1 << 20))\nprint('the end')"),
    ) as running:
        assert running.wait(60) == 0
    data, end = output.read(running.file)
    assert end == 100 * (1024 * 1024 + 1) + 8
    assert data.endswith(b"x\nthe end\n")
    assert len(data) == output.KEPT
    assert running.file.stat().st_size == output.SIZE


@pytest.mark.promise("guest.output-bounded")
def test_an_agent_that_closes_its_output_lives_on(tmp_path: Path) -> None:
    with guest(tmp_path, python("import os, time; os.close(1); os.close(2); time.sleep(0.2); os._exit(9)")) as running:
        assert running.event() == {"event": "exited", "code": 9, "signal": None}


@pytest.mark.promise("guest.sigterm")
def test_sigterm_reaches_the_agent(tmp_path: Path) -> None:
    polite = "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(11))\nprint('ready', flush=True)\nsignal.pause()"
    with guest(tmp_path, python(polite)) as running:
        running.printed(b"ready")
        os.kill(running.first, signal.SIGTERM)
        assert running.event() == {"event": "exited", "code": 11, "signal": None}


@pytest.mark.promise("guest.sigterm")
def test_an_agent_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    with guest(
        tmp_path,
        python("import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\nwhile True: signal.pause()"),
        grace=0.2,
    ) as running:
        running.printed(b"ready")
        started = time.monotonic()
        os.kill(running.first, signal.SIGTERM)
        assert running.event() == {"event": "exited", "code": None, "signal": 9}
        assert 0.15 < time.monotonic() - started < 5


@pytest.mark.promise("guest.idle")
def test_an_idle_guest_does_not_wake(tmp_path: Path) -> None:
    with guest(
        tmp_path, python("import signal, socket\ns = socket.create_server(('127.0.0.1', 8080))\nsignal.pause()"), ready_port=8080
    ) as running:
        assert running.event() == {"event": "listening"}
        time.sleep(0.1)  # what the start began has ended
        before = switches(running.first)
        time.sleep(0.5)  # the property is about time that passes
        assert switches(running.first) == before


def switches(pid: int) -> list[str]:
    """Return how often the process gave up the processor, and how often it lost it."""
    return re.findall(r"ctxt_switches:\t(\d+)", Path(f"/proc/{pid}/status").read_text())


@pytest.mark.promise("guest.agent-first")
def test_the_agent_starts_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    """What is imported, with the agent started last, is what was there before it."""
    code = f"import sys; sys.path.insert(0, {str(Path(MAIN).parents[2])!r}); import sandkit.guest.init; print(*sorted(sys.modules))"
    loaded = subprocess.run([PYTHON, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=30, check=True).stdout.split()
    assert {"asyncio", "json", "re", "enum", "socket", "signal", "ctypes", "typing", "pathlib", "threading", "logging"} & set(
        loaded
    ) == set()
    base = subprocess.run(
        [PYTHON, "-I", "-S", "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, timeout=30, check=True
    )
    assert len(set(loaded) - set(base.stdout.split())) < 20


@pytest.mark.parametrize("hidden", ["", "_json", "_ctypes", "_signal", "_socket"])
def test_without_the_light_modules_their_public_twins_do(hidden: str) -> None:
    code = f"""
import ctypes, json, signal, socket, sys
if {hidden!r}: sys.modules[{hidden!r}] = None
sys.path.insert(0, {str(Path(MAIN).parents[2])!r})
from sandkit.guest import light
found = light.decode(' {{"a": [1, 2.5, null, true, "\\\\u00e9\\\\n"], "b": {{}}}}\\n')
assert found == {{"a": [1, 2.5, None, True, "é\\n"], "b": {{}}}}, found
for bad in ("", "{{", "{{}} x", "nul"):
    try: light.decode(bad)
    except ValueError: continue
    raise SystemExit(bad)
light.make_undumpable()
assert light.signal.SIGTERM == 15 and light.socket.AF_INET == 2
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_pid_namespace_only_the_agents_own_session_ends(tmp_path: Path) -> None:
    """As under `--isolation none`: kill(-1) there would be every process of the user. (The network is parted here for the guest's port.)"""
    namespaces = ("--unshare-user", "--unshare-net", "--dev-bind", "/", "/")
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            with guest(
                tmp_path, ["sh", "-c", "mkfifo fifo; sleep 61 & echo $!; read line < fifo"], namespaces=namespaces, cwd=str(tmp_path)
            ) as running:
                child = os.pidfd_open(int(running.printed(b"\n")))
                (tmp_path / "fifo").write_text("go\n")
                assert running.wait() == 0
            assert select.select([child], [], [], 10)[0], "the agent's child lives on"
            os.close(child)
            assert bystander.poll() is None
        finally:
            bystander.kill()
