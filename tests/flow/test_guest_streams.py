"""What must not grow, wait or wake: slow readers, much output, an idle guest; and what the HTTP side may import."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.envd import END, PROCESS, order
from support.guests import MAIN, PYTHON

if TYPE_CHECKING:
    from support.envd import Envd, Json, Wire

pytestmark = pytest.mark.anyio

MEBIBYTE = 1024 * 1024


@pytest.mark.slow
@pytest.mark.promise("envd.gigabyte")
async def test_a_gigabyte_is_followed_in_constant_memory(clients_sandbox: Envd, wire: Wire) -> None:
    await wire.shell("true")
    before = clients_sandbox.memory()
    headers = await wire.open_stream(f"{PROCESS}/Start", order("/bin/bash", "-c", "head -c 1000000000 /dev/zero"))
    size, tail = 0, b""
    async for piece in wire.pieces(headers):
        size += len(piece)
        tail = (tail + piece)[-200:]
    assert size > 1_000_000_000 * 4 / 3
    assert b'"exitCode":0' in tail
    assert clients_sandbox.memory() - before < 8 * MEBIBYTE


@pytest.mark.promise("envd.slow-reader")
async def test_a_slow_reader_slows_the_process_and_nothing_grows(clients_sandbox: Envd, wire: Wire) -> None:
    script = "for n in $(seq 64); do head -c 1048576 /dev/zero; echo $n > /tmp/progress; done; echo done > /tmp/progress"
    await wire.shell("true")
    before = clients_sandbox.memory()
    headers = await wire.open_stream(f"{PROCESS}/Start", order("/bin/bash", "-c", script))
    async with clients_sandbox.wire() as other:
        stood = await _stands_still(other)
        assert stood < 32, "the process went on without its reader"
        assert clients_sandbox.memory() - before < 8 * MEBIBYTE
        size = 0
        async for piece in wire.pieces(headers):
            size += len(piece)
        assert size > 64 * MEBIBYTE * 4 / 3
        assert (await other.shell("cat /tmp/progress")).stdout == b"done\n"


async def _stands_still(wire: Wire) -> int:
    """Return how far the script came, once it comes no further: nothing could tell us that."""
    last, since = b"", time.monotonic()
    while time.monotonic() - since < 0.5:
        now = (await wire.shell("cat /tmp/progress")).stdout
        if now != last:
            last, since = now, time.monotonic()
    return int(last or b"0")


@pytest.mark.promise("envd.slow-reader")
async def test_without_a_reader_output_is_dropped(clients_sandbox: Envd) -> None:
    async with clients_sandbox.wire() as first:
        message = order("/bin/bash", "-c", "read line; head -c 50000000 /dev/zero; echo over > /tmp/over; read line", stdin=True)
        headers = await first.open_stream(f"{PROCESS}/Start", message)
        pid = (await anext(first.messages(headers)))[1]["event"]["start"]["pid"]
    async with clients_sandbox.wire() as other:
        await other.call(f"{PROCESS}/SendInput", {"process": {"pid": pid}, "input": {"stdin": "Cg=="}})
        await other.shell("until [ -e /tmp/over ]; do sleep 0.01; done", headers={"Connect-Timeout-Ms": "20000"})
        await other.call(f"{PROCESS}/CloseStdin", {"process": {"pid": pid}})


@pytest.mark.promise("envd.outlives")
async def test_a_reader_that_leaves_in_the_middle_frees_the_process(clients_sandbox: Envd) -> None:
    async with clients_sandbox.wire() as first:
        headers = await first.open_stream(f"{PROCESS}/Start", order("/bin/bash", "-c", "head -c 20000000 /dev/zero; exit 6"))
        pid = (await anext(first.messages(headers)))[1]["event"]["start"]["pid"]
        first.writer.transport.abort()
    async with clients_sandbox.wire() as other:
        out = await other.output(f"{PROCESS}/Connect", {"process": {"pid": pid}})
        assert out.end["exitCode"] == 6


@pytest.mark.promise("envd.idle")
async def test_an_idle_guest_never_wakes(clients_sandbox: Envd, wire: Wire) -> None:
    headers = await wire.open_stream(f"{PROCESS}/Start", order("/bin/sleep", "60"))
    await anext(wire.messages(headers))
    await asyncio.sleep(0.3)  # what began has ended
    pids = (clients_sandbox.rig.first(clients_sandbox.sandbox_id), clients_sandbox.server())
    before = [_switches(pid) for pid in pids]
    await asyncio.sleep(0.7)  # the property is about time that passes
    assert [_switches(pid) for pid in pids] == before


def _switches(pid: int) -> list[str]:
    return re.findall(r"ctxt_switches:\t(\d+)", Path(f"/proc/{pid}/status").read_text())


@pytest.mark.promise("envd.light")
def test_the_http_side_imports_nothing_heavy() -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(MAIN).parents[2])!r}); import sandkit.guest.envd.server; print(*sorted(sys.modules))"
    loaded = subprocess.run([PYTHON, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=30, check=True).stdout.split()
    heavy = {
        "asyncio",
        "json",
        "re",
        "enum",
        "socket",
        "signal",
        "ctypes",
        "typing",
        "pathlib",
        "threading",
        "logging",
        "subprocess",
        "http",
    }
    assert heavy & set(loaded) == set()


@pytest.mark.promise("envd.keep-alive")
async def test_memory_does_not_grow_with_requests(clients_sandbox: Envd, wire: Wire) -> None:
    for _ in range(300):
        assert (await wire.ask("GET", "/health")).status == 204
        await wire.run("/bin/true")
    before = clients_sandbox.memory("VmRSS")
    for _ in range(1000):
        assert (await wire.ask("GET", "//health?x=1")).status == 204
        await wire.call(f"{PROCESS}/List", {})
    assert clients_sandbox.memory("VmRSS") - before < MEBIBYTE


@pytest.mark.promise("envd.frames")
async def test_an_end_frame_ends_every_stream(wire: Wire) -> None:
    messages: list[Json] = [order("/bin/true"), order("/nowhere"), {}, {"process": []}]
    for message in messages:
        assert [flags for flags, _ in await wire.stream(f"{PROCESS}/Start", message)][-1] == END
