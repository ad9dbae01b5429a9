"""The guest's HTTP surface under made-up clients: whatever they send ends no more than their own connection."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.envd import FILES, PROCESS, Wire, frame

if TYPE_CHECKING:
    from support.envd import Envd

pytestmark = pytest.mark.anyio

METHODS = [
    *(
        f"{PROCESS}/{name}"
        for name in ("Start", "Connect", "List", "SendInput", "StreamInput", "SendSignal", "CloseStdin", "Update", "None")
    ),
    *(f"{FILES}/{name}" for name in ("Stat", "ListDir", "MakeDir", "Move", "Remove", "WatchDir", "CreateWatcher", "GetWatcherEvents")),
]
KEYS = [
    "process",
    "cmd",
    "args",
    "envs",
    "cwd",
    "pid",
    "tag",
    "pty",
    "size",
    "cols",
    "rows",
    "stdin",
    "input",
    "signal",
    "path",
    "depth",
    "source",
    "destination",
    "recursive",
    "watcherId",
    "start",
    "data",
    "keepalive",
]
TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from(["/bin/true", "/tmp/fuzz", "~", "..", "\0", "/proc/self/fd/0", "%", "A===", "SIGNAL_SIGKILL"])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=5)), inner, max_size=4)
    ),
    max_leaves=12,
)
TOKENS = [
    b"GET",
    b"POST",
    b" ",
    b"/files",
    b"/health",
    b"?path=",
    b"HTTP/1.1",
    b"HTTP/9",
    b"\r\n",
    b"\n",
    b":",
    b"Content-Length",
    b"Transfer-Encoding: chunked\r\n",
    b"5",
    b"-1",
    b"ffffffffffffffff",
    b"\0",
    b"\xff",
    b"%",
    b"Content-Type: multipart/form-data; boundary=B\r\n",
    b"--B",
    b"--",
    b"Expect: 100-continue\r\n",
    b"Range: bytes=5-",
]
JUNK = st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=12)), max_size=40).map(b"".join)
KINDS = st.sampled_from(["application/json", "application/connect+json"])
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def attack(sandbox: Envd, data: bytes, *, leave: bool) -> bytes:
    """Send, say that nothing more comes, and read a little of what is said; or leave with a reset."""
    async with sandbox.wire() as wire:
        with contextlib.suppress(OSError, TimeoutError):
            wire.writer.write(data)
            if leave:
                wire.writer.transport.abort()
                return b""
            wire.writer.write_eof()
            async with asyncio.timeout(5):
                return await wire.reader.read(65536)
    return b""


async def unharmed(sandbox: Envd, before: int) -> None:
    async with sandbox.wire() as wire:
        assert (await wire.ask("GET", "/health")).status == 204
        assert (await wire.run("/bin/echo", "works")).stdout == b"works\n"
    assert sandbox.server() == before


async def settled(sandbox: Envd) -> int:
    async with sandbox.wire() as wire:
        assert (await wire.ask("GET", "/health")).status == 204
    return sandbox.server()


@pytest.mark.promise("envd.hostile")
@FUZZ
@given(data=JUNK, leave=st.booleans())
async def test_heads(clients_sandbox: Envd, data: bytes, leave: bool) -> None:
    before = await settled(clients_sandbox)
    answer = await attack(clients_sandbox, data, leave=leave)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert b" 500 " not in answer.partition(b"\r\n")[0], answer
    await unharmed(clients_sandbox, before)


@pytest.mark.promise("envd.hostile")
@FUZZ
@given(method=st.sampled_from(METHODS), kind=KINDS, message=VALUES, flags=st.integers(0, 255), cut=st.integers(0, 40))
async def test_messages(clients_sandbox: Envd, *, method: str, kind: str, message: object, flags: int, cut: int) -> None:
    before = await settled(clients_sandbox)
    data = frame(message, flags)[0 if kind.startswith("application/connect") else 5 :]
    data = data[: len(data) - cut % (len(data) + 1)]
    head = f"POST /{method} HTTP/1.1\r\nContent-Type: {kind}\r\nConnect-Timeout-Ms: 500\r\nContent-Length: {len(data)}\r\n\r\n"
    answer = await attack(clients_sandbox, head.encode() + data, leave=False)
    assert b" 500 " not in answer.partition(b"\r\n")[0], answer
    assert b"its mistake" not in answer
    await unharmed(clients_sandbox, before)


@pytest.mark.promise("envd.hostile")
@FUZZ
@given(
    data=JUNK,
    query=st.text(max_size=20),
    kind=st.sampled_from(["multipart/form-data; boundary=B", "multipart/form-data", "application/octet-stream"]),
)
async def test_uploads(clients_sandbox: Envd, data: bytes, query: str, kind: str) -> None:
    before = await settled(clients_sandbox)
    target = "/files?path=/tmp/fuzzed/" + "".join(f"%{byte:02x}" for byte in query.encode())
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="/tmp/fuzzed/x"\r\n\r\n' + data
    head = f"POST {target} HTTP/1.1\r\nContent-Type: {kind}\r\nX-Metadata-{len(query)}: {len(data)}\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = await attack(clients_sandbox, head.encode() + body, leave=False)
    assert b" 500 " not in answer.partition(b"\r\n")[0], answer
    await unharmed(clients_sandbox, before)


@pytest.mark.promise("envd.hostile")
async def test_slow_and_half_requests_hold_nobody_up(clients_sandbox: Envd) -> None:
    before = await settled(clients_sandbox)
    wires = [await clients_sandbox.connect() for _ in range(150)]
    try:
        for number, wire in enumerate(wires):
            part = (
                b"GET /hea",
                b"POST /process.Process/List HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
                b"",
                b"POST /files?path=/tmp/half HTTP/1.1\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            )
            wire.writer.write(part[number % 4])
        async with asyncio.timeout(10):
            await unharmed(clients_sandbox, before)
    finally:
        for wire in wires:
            wire.close()


@pytest.mark.promise("envd.hostile")
async def test_a_frame_that_promises_much_costs_nothing(clients_sandbox: Envd) -> None:
    before = await settled(clients_sandbox)
    held = clients_sandbox.memory("VmRSS")
    wires: list[Wire] = [await clients_sandbox.connect() for _ in range(50)]
    for wire in wires:
        await wire.send("POST", f"/{PROCESS}/Start", None, {"Content-Type": "application/connect+json"})
        await wire.send_chunk(struct.pack(">BI", 0, 15 << 20))
    await unharmed(clients_sandbox, before)
    assert clients_sandbox.memory("VmRSS") - held < 8 << 20
    for wire in wires:
        wire.close()
