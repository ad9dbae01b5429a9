"""The prefab that most tests of the gateway call: one small function for each thing that a function may do, good or bad.

This file is its `src/main.py`; it runs in the sandbox.
"""

# ruff: noqa: PTH208, PTH123, T201, C901 (written as authors of prefabs write)
# pyright: basic
from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_STATE: dict[str, str] = {}
_MARKS = Path("/tmp/marks")  # seen by the tenant's later calls: that is how a test learns what became of an earlier one


def add(a: int, b: int = 2) -> dict:
    return {"sum": a + b}


def echo(value: object = None) -> dict:
    return {"value": value}


def strange(self: str, files: str) -> dict:
    return {"self": self, "files": files}


def where() -> dict:
    """What a call can see of itself and of others."""
    seen = dict(_STATE)
    left = os.environ.get("LEFT_BEHIND")
    _STATE["seen"] = "yes"
    os.environ["LEFT_BEHIND"] = "yes"
    return {
        "cwd": str(Path.cwd()),
        "pid": os.getpid(),
        "state": seen,
        "left": left,
        "random": random.random(),
        "calls": sorted(os.listdir("..")),
        "token": "X_INTERNAL_TOKEN" in os.environ,
    }


def boom(message: str = "no") -> dict:
    print("before the end")
    raise ValueError(message)


def say(text: str, times: int = 1) -> dict:
    for number in range(times):
        print(number, text)
    return {}


def leave(code: int = 3) -> dict:
    os._exit(code)


def crash() -> dict:
    print("about to crash", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def nap(seconds: float, mark: str = "") -> dict:
    time.sleep(seconds)
    if mark:
        set_mark(mark)
    return {"slept": seconds}


def stubborn(seconds: float, mark: str) -> dict:
    """Ignores SIGTERM, and has a child in a session of its own that does, too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("I stay", flush=True)
    script = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep({seconds}); open('/tmp/marks', 'a').write('{mark}-child\\n')"
    subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    time.sleep(seconds)
    set_mark(mark)
    return {}


def set_mark(mark: str) -> dict:
    with _MARKS.open("a") as file:
        file.write(f"{mark}\n")
    return {}


def marks() -> dict:
    return {"marks": _MARKS.read_text().split() if _MARKS.exists() else []}


def processes() -> dict:
    """The other processes of the sandbox, and how many of them are neither its first one nor the runner's."""
    others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    strangers = 0
    for pid in others:
        try:
            strangers += b"/sandkit/" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
    return {"count": len(others), "strangers": strangers}


def wrong(kind: str) -> object:
    cycle: dict = {}
    cycle["self"] = cycle
    values = {
        "list": [1],
        "nan": {"x": float("nan")},
        "bytes": {"x": b"x"},
        "cycle": cycle,
        "surrogate": {"x": "\ud800"},
        "none": None,
    }
    return values[kind]


def large(size: int) -> dict:
    return {"text": "x" * size}


def hog(size: int) -> dict:
    return {"length": len(bytearray(size))}


def garbage() -> dict:
    """Write into every socket that this process holds, the one that its result goes over among them."""
    for name in os.listdir("/proc/self/fd"):
        try:
            connection = socket.socket(fileno=os.dup(int(name)))
            connection.sendall(b"\xff" * 64)
        except OSError:
            continue
    return {}


def hang_up() -> dict:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                continue
    return {}


def kill_parent() -> dict:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(5)
    return {}


def write_files(names: list) -> dict:
    for name in names:
        path = Path("data/outputs") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return {"written": len(names)}


def tricks() -> dict:
    """Leave what must not be returned beside one file that may."""
    out = Path("data/outputs")
    (out / "good.txt").write_text("good")
    (out / "link").symlink_to("/etc/passwd")
    (out / "directory-link").symlink_to("/etc")
    (Path("twice")).write_text("twice")
    os.link("twice", out / "hard")
    os.mkfifo(out / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(out / "socket"))
    (out / "new\nline").write_text("x")
    return {}


def many_files(count: int) -> dict:
    for number in range(count):
        Path(f"data/outputs/{number}").touch()
    return {}


def fill() -> dict:
    with open("data/outputs/large", "wb") as file:
        while True:
            file.write(b"x" * 2**20)


def read_inputs() -> dict:
    found = sorted(str(path) for path in Path("data/inputs").rglob("*") if path.is_file())
    return {"names": found, "texts": [Path(path).read_text() for path in found]}


def forks(count: int) -> dict:
    """Start processes that wait; `count` is bounded by the tests."""
    for _ in range(min(count, 200)):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    return {}


def count(upto: int, pause: float = 0.0):
    yield {"type": "start", "data": {"upto": upto}}
    for number in range(upto):
        yield {"type": "content", "data": f"{number} "}
        time.sleep(pause)
    yield {"type": "done", "data": {"counted": upto}}


def mixed(kind: str):
    yield {"type": "content", "data": "first"}
    if kind == "no done":
        return
    if kind == "late":
        yield {"type": "done", "data": "end"}
        yield {"type": "content", "data": "late"}
    if kind == "raise":
        raise RuntimeError("in the middle")
    if kind == "error":
        yield {"type": "error", "data": "as it said", "error_code": "ITS_OWN"}
    if kind == "die":
        os._exit(4)
    if kind == "large":
        yield {"type": "content", "data": "x" * 300_000}
    if kind == "lines":
        yield {"type": "content", "data": 'a\nb\r\u2028\ndata: {"type":"done"}'}
    if kind == "plain":
        yield "just text"
        yield {"type": "unknown", "data": 1}
    if kind == "file":
        Path("data/outputs/made.txt").write_text("made")
        yield {"type": "done", "data": "with a file"}
    if kind == "silent":
        time.sleep(60)


def endless(mark: str, size: int = 10, pause: float = 0.01):
    """Yield for ever, leaving a mark about every tenth of a second."""
    last = 0.0
    while True:
        if time.monotonic() - last > 0.1:
            last = time.monotonic()
            set_mark(mark)
        yield {"type": "content", "data": "x" * size}
        time.sleep(pause)


async def later(value: int) -> dict:
    import asyncio

    await asyncio.sleep(0.01)
    return {"value": value}


async def later_events():
    yield {"type": "content", "data": "one"}
    yield {"type": "content", "data": "two"}


def spy() -> dict:
    """Try to read what other processes of the sandbox hold: environment, memory, descriptors."""
    read: list = []
    for pid in (name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()):
        for what in ("environ", "mem", "maps", "auxv"):
            try:
                with open(f"/proc/{pid}/{what}", "rb") as file:
                    file.read(1)
                read.append(f"{pid}/{what}")
            except OSError:
                continue
        try:
            os.listdir(f"/proc/{pid}/fd")
            read.append(f"{pid}/fd")
        except OSError:
            continue
    return {"read": read}


def mine(user: str, number: int) -> dict:
    """Leave this caller's mark everywhere that another one's could be seen, and tell what was there."""
    name = f"{user}-{number}"
    seen = {
        "env": os.environ.get("WHO"),
        "state": _STATE.get("who"),
        "files": sorted(os.listdir("data/outputs")),
    }
    given = [path.read_text() for path in Path("data/inputs").rglob("*") if path.is_file()]
    secret = hashlib.sha256(os.environ.get("OF_MINE", "").encode()).hexdigest()  # itself it would be struck out
    os.environ["WHO"] = _STATE["who"] = name
    Path("data/outputs/mine.txt").write_text(name)
    time.sleep(0.005)
    told = {"env": os.environ["WHO"], "state": _STATE["who"], "file": Path("data/outputs/mine.txt").read_text()}
    return {"name": name, "seen": seen, "told": told, "given": given, "secret": secret}
