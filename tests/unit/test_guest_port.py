"""The guest's own port, attacked from where its clients are: inside the sandbox's network namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandkit.guest import output
from support.guests import NAMESPACES, guest, python

CLIENT = """
import os, random, select, socket, struct, sys, time
PORT = 49983

def connected(timeout=10):
    deadline = time.monotonic() + timeout
    while True:
        try:
            return socket.create_connection(("127.0.0.1", PORT), timeout)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.001)

def ask(request, timeout=10):
    with connected(timeout) as s:
        s.sendall(request.replace(b"\\r\\n\\r\\n", b"\\r\\nConnection: close\\r\\n\\r\\n", 1))
        reply = b""
        while data := s.recv(65536): reply += data
        return reply

def health(timeout=10):
    return ask(b"GET /health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n", timeout).split(b"\\r\\n")[0].decode()
"""


def run(tmp_path: Path, code: str, *, limit: float = 60) -> str:
    with guest(tmp_path, python(CLIENT + code)) as running:
        status = running.wait(limit)
        assert status == 0, output.tail(running.file).decode(errors="replace")
        return output.tail(running.file).decode()


@pytest.mark.promise("guest.port")
def test_health(tmp_path: Path) -> None:
    code = """
print(health())
for request in (b"GET /health?x=1 HTTP/1.1", b"POST /health HTTP/1.1", b"GET /other HTTP/1.1", b"GET http://x/health HTTP/1.1", b"nonsense", b"GET /health HTTP/3"):
    print(ask(request + b"\\r\\n\\r\\n").split(b"\\r\\n")[0].decode())
print(ask(b"GET /health HTTP/1.1\\r\\nA: " + b"x" * 100000 + b"\\r\\n\\r\\n")[:12].decode())
"""
    statuses = [int(line.split()[1]) for line in run(tmp_path, code).splitlines()]
    assert statuses == [204, 204, 405, 404, 400, 400, 400, 431]


@pytest.mark.promise("guest.port")
def test_garbage_and_a_hundred_slow_clients_shut_nobody_out(tmp_path: Path) -> None:
    code = """
random.seed(7)
slow = [connected() for _ in range(100)]
for s in slow: s.sendall(b"GET /hea")
for i in range(150):
    s = connected()
    try:
        s.sendall(random.choice([os.urandom(300), b"\\r\\n" * 50, b"GET " + os.urandom(40) + b" HTTP/1.1\\r\\n\\r\\n", b"\\x16\\x03\\x01" + os.urandom(100), b"GET /health HTTP/1.1\\r\\n" * 9]))
        if i % 3 == 0: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves with a reset
        elif i % 3 == 1: s.shutdown(socket.SHUT_WR)
    except OSError: pass
    s.close()
started = time.monotonic()
print(health(), time.monotonic() - started < 5)
for s in slow:
    s.sendall(b"lth HTTP/1.1\\r\\n\\r\\n")
print({s.recv(100)[:12] for s in slow})
"""
    assert run(tmp_path, code).splitlines() == ["HTTP/1.1 204 No Content True", "{b'HTTP/1.1 204'}"]


@pytest.mark.promise("guest.port")
def test_its_server_comes_back_when_the_agent_kills_it(tmp_path: Path) -> None:
    code = """
import signal
def servers(): return [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]
print(servers(), health())
for _ in range(2):
    for pid in servers(): os.kill(pid, signal.SIGKILL)
    print(health(), len(servers()))
"""
    assert run(tmp_path, code).splitlines() == ["[] HTTP/1.1 204 No Content", *["HTTP/1.1 204 No Content 1"] * 2]


@pytest.mark.promise("guest.not-dumpable")
def test_the_server_is_closed_to_the_agent_too(tmp_path: Path) -> None:
    code = """
health()
pid = max(int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid()))
for name in ("mem", "environ", "maps"):
    try: open(f"/proc/{pid}/{name}").read(1)
    except PermissionError: print("refused")
"""

    with guest(tmp_path, python(CLIENT + code), namespaces=(*NAMESPACES, "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL")) as running:
        assert running.wait() == 0
    assert output.tail(running.file) == b"refused\n" * 3


@pytest.mark.promise("guest.idle")
def test_nothing_is_imported_for_the_port_before_somebody_connects(tmp_path: Path) -> None:
    code = "print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))\nconnected().close()\nprint(health())"
    printed = run(tmp_path, code)
    assert re.match(r"\[1, 2\]\nHTTP/1.1 204", printed), printed


def test_the_guest_stays_small(tmp_path: Path) -> None:
    """Private memory of pid 1 with a command that runs; CPython 3.11 alone takes 2.3 MB of it."""
    with guest(tmp_path, python("import signal; print('in', flush=True); signal.pause()")) as running:
        running.printed(b"in")
        status = Path(f"/proc/{running.first}/status").read_text()
        anonymous = int(re.findall(r"RssAnon:\s+(\d+) kB", status)[0])
        assert anonymous < 6 * 1024
        assert re.findall(r"Threads:\s+(\d+)", status) == ["1"]
