"""`/files` in a real sandbox: up, down, packed, in parts, by range; and every mistake's answer."""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING

import pytest

from support.envd import envd
from support.sandboxes import rig

if TYPE_CHECKING:
    from pathlib import Path

    from support.envd import Envd, Reply, Wire

pytestmark = pytest.mark.anyio

MEBIBYTE = 1024 * 1024
RAW = "application/octet-stream"


async def up(wire: Wire, target: str, data: bytes, **headers: str) -> Reply:
    return await wire.ask("POST", f"/files?path={target}", data, Content_Type=RAW, **headers)


async def down(wire: Wire, target: str, **headers: str) -> Reply:
    return await wire.ask("GET", f"/files?path={target}", b"", **headers)


def parts(*files: tuple[str, str, bytes], boundary: str = "B") -> bytes:
    """Return a multipart body of (name, file name, contents)."""
    body = b"a preamble that is no part\r\n"
    for name, filename, data in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: text/plain\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\nan epilogue".encode()


@pytest.mark.promise("envd.files", "envd.files-reply")
@pytest.mark.parametrize("data", [b"", b"x", b"\r\n--B\r\n" * 100, os.urandom(3 * MEBIBYTE)], ids=["empty", "one", "marks", "3 MiB"])
async def test_raw_up_and_down(wire: Wire, data: bytes) -> None:
    reply = await up(wire, "r/deep/er/f.bin", data)
    assert (reply.status, reply.json) == (200, [{"path": "/home/user/r/deep/er/f.bin", "name": "f.bin", "type": "file"}])
    found = await down(wire, "/home/user/r/deep/er/f.bin")
    assert (found.status, found.body) == (200, data)
    assert (await wire.shell("stat -c '%U %a' r r/deep/er/f.bin")).stdout == b"user 755\nuser 644\n"


@pytest.mark.promise("envd.files", "envd.files-reply")
@pytest.mark.parametrize(
    "data", [b"", b"one", b"\r\n--", b"\r\n--A" * 1000, os.urandom(2 * MEBIBYTE)], ids=["empty", "one", "nearly", "near", "2 MiB"]
)
async def test_several_parts(wire: Wire, data: bytes) -> None:
    body = parts(("file", "/tmp/p/1", data), ("other", "x", b"ignored"), ("file", "p 2 ü.txt", data + b"2"))
    reply = await wire.ask("POST", "/files", body, Content_Type='multipart/form-data; boundary="B"')
    assert [each["path"] for each in reply.json] == ["/tmp/p/1", "/home/user/p 2 ü.txt"]
    assert (await down(wire, "/tmp/p/1")).body == data
    assert (await down(wire, "p%202%20%C3%BC.txt")).body == data + b"2"
    one = await wire.ask("POST", "/files?path=named", parts(("file", "whatever", data)), Content_Type="multipart/form-data; boundary=B")
    assert [each["path"] for each in one.json] == ["/home/user/named"]


@pytest.mark.promise("envd.files")
async def test_packed_both_ways(wire: Wire) -> None:
    data = b"again and again " * 200_000
    packed = gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])
    assert (await up(wire, "z", packed, Content_Encoding="gzip")).status == 200
    assert (await down(wire, "z")).body == data
    asked = await down(wire, "z", Accept_Encoding="gzip")
    assert asked.headers["content-encoding"] == "gzip"
    assert gzip.decompress(asked.body) == data
    offered = await down(wire, "z", Accept_Encoding="gzip, deflate, br")
    assert "content-encoding" not in offered.headers, "a library's offer is no wish: packing is slower than the loopback"
    for broken in (packed[:-20], b"no gzip", packed + b"junk"):
        assert (await up(wire, "broken", broken, Content_Encoding="gzip")).status == 400
        assert (await down(wire, "broken")).status == 404
    assert (await up(wire, "broken", b"", Content_Encoding="br")).status == 415


@pytest.mark.promise("envd.files")
@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-30", 206, b"0123456789"),
        ("bytes=5-500", 206, b"56789"),
        ("bytes=10-", 416, None),
        ("bytes=1-2,4-5", 200, b"0123456789"),
        ("bytes=x-y", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
async def test_ranges(wire: Wire, wanted: str, status: int, body: bytes | None) -> None:
    await up(wire, "range", b"0123456789")
    found = await down(wire, "range", Range=wanted)
    assert found.status == status
    assert body is None or found.body == body
    head = await wire.ask("HEAD", "/files?path=range")
    assert (head.status, head.headers["content-length"]) == (200, "10")


@pytest.mark.promise("envd.files")
async def test_what_the_kernel_makes_up_is_read_too(wire: Wire) -> None:
    assert b"Name:" in (await down(wire, "/proc/self/status")).body


@pytest.mark.promise("envd.files-errors")
async def test_mistakes(wire: Wire) -> None:
    await wire.shell("mkdir -p dir; mkfifo pipe; ln -s loop loop; mkdir -m 0 closed; echo x > file")
    for target, status in (
        ("nowhere", 404),
        ("dir", 400),
        ("pipe", 400),
        ("loop", 400),
        ("file/below", 400),
        ("closed/x", 403),
        ("%00", 400),
        ("", 400),
        ("~root/x", 400),
        ("x" * 300, 400),
        ("file&username=somebody", 401),
        ("file&username=root", 403),
    ):
        found = await down(wire, target)
        assert (target, found.status) == (target, status)
        assert found.json["code"] == status
        assert found.json["message"]
    for target, status in (("dir", 400), ("pipe", 400), ("/usr/x", 403), ("file/below", 400), ("x&username=root", 403)):
        assert (target, (await up(wire, target, b"x")).status) == (target, status)
    assert (await wire.ask("POST", "/files?path=x", b"x", Content_Type="text/plain")).status == 400
    assert (await wire.ask("PUT", "/files?path=x", b"x")).status == 405
    for body, kind in (
        (b"", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=B"),
        (b"--B\r\n", "multipart/form-data; boundary=B"),
        (b"--B\r\n\r\nx", "multipart/form-data; boundary=B"),
        (b"--B\r\n" + b"h" * 20_000, "multipart/form-data; boundary=B"),
        (b"--B--\r\n", "multipart/form-data; boundary=B"),
        (parts(("file", "same", b"1"), ("file", "same", b"2")), "multipart/form-data; boundary=B"),
        (parts(("file", "", b"1")), "multipart/form-data; boundary=B"),
    ):
        assert (await wire.ask("POST", "/files", body, Content_Type=kind)).status == 400


@pytest.mark.promise("envd.metadata", "envd.files-reply")
async def test_metadata(wire: Wire) -> None:
    reply = await up(wire, "m", b"1", X_Metadata_Colour="red", X_Metadata_b="2")
    assert reply.json == [{"path": "/home/user/m", "name": "m", "type": "file", "metadata": {"colour": "red", "b": "2"}}]
    entry = (await wire.call("filesystem.Filesystem/Stat", {"path": "m"})).json["entry"]
    assert entry["metadata"] == {"colour": "red", "b": "2"}
    assert (await up(wire, "m", b"2", X_Metadata_c="3")).json[0]["metadata"] == {"c": "3"}
    assert "metadata" not in (await up(wire, "m", b"3")).json[0]
    assert "metadata" not in (await wire.call("filesystem.Filesystem/Stat", {"path": "m"})).json["entry"]
    assert (await up(wire, "m", b"4", X_Metadata_d="x" * 5000)).status == 400
    assert (await up(wire, "m", b"4", X_Metadata_d="ü")).status == 400
    assert (await down(wire, "m")).body == b"3"


@pytest.mark.promise("envd.compose")
async def test_compose(wire: Wire) -> None:
    for name, data in (("c1", b"one "), ("c2", b"two "), ("c3", b"three")):
        await up(wire, name, data)
    order = {"source_paths": ["c1", "/home/user/c2", "c3"], "destination": "made/whole"}
    reply = await wire.ask("POST", "/files/compose", json.dumps(order).encode())
    assert reply.json == {"path": "/home/user/made/whole", "name": "whole", "type": "file"}
    assert (await down(wire, "made/whole")).body == b"one two three"
    assert (await wire.shell("ls c1 c2 c3 2>/dev/null; ls -A made")).stdout == b"whole\n"
    for wrong, status in (
        ({}, 400),
        ({"source_paths": [5], "destination": "x"}, 400),
        ({"source_paths": ["x"], "destination": "x"}, 400),
        ({"source_paths": ["none"], "destination": "x"}, 404),
        ({"source_paths": ["made"], "destination": "x"}, 400),
    ):
        assert (await wire.ask("POST", "/files/compose", json.dumps(wrong).encode())).status == status
    assert (await down(wire, "x")).status == 404


@pytest.mark.promise("envd.files-whole")
async def test_a_broken_upload_leaves_nothing_new(clients_sandbox: Envd, wire: Wire) -> None:
    await up(wire, "old", b"contents")
    for target, sent in (("old", 1000), ("fresh", 1000), ("large", 4 * MEBIBYTE)):
        async with clients_sandbox.wire() as other:
            await other.send("POST", f"/files?path={target}", None, {"Content-Type": RAW})
            await other.send_chunk(b"x" * sent)
    names = await wire.shell("for n in $(seq 100); do [ -e large ] || break; sleep 0.05; done; ls fresh large; cat old")
    assert names.stdout == b"contents"


@pytest.mark.promise("envd.files-large")
async def test_large_files_in_constant_memory(clients_sandbox: Envd, wire: Wire) -> None:
    piece = os.urandom(MEBIBYTE)
    await up(wire, "small", b"x")
    before = clients_sandbox.memory()
    await wire.send("POST", "/files?path=/tmp/large", None, {"Content-Type": RAW})
    for _ in range(150):
        await wire.send_chunk(piece)
    wire.writer.write(b"0\r\n\r\n")
    status, headers = await wire.head()
    assert (status, [each async for each in wire.pieces(headers)] != []) == (200, True)
    await wire.send("GET", "/files?path=/tmp/large")
    _, headers = await wire.head()
    size = 0
    async for each in wire.pieces(headers):
        size += len(each)
    assert size == 150 * MEBIBYTE
    assert clients_sandbox.memory() - before < 8 * MEBIBYTE
    await wire.call("filesystem.Filesystem/Remove", {"path": "/tmp/large"})


@pytest.mark.promise("envd.files-errors", "envd.files-whole")
async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    async with rig(tmp_path) as running, envd(running) as sandbox, sandbox.wire() as wire:
        body = os.urandom(MEBIBYTE) * 300  # of 256
        reply = await up(wire, "/tmp/full", body)
        assert (reply.status, reply.json["code"]) == (507, 507)
        assert (await down(wire, "/tmp/full")).status == 404
        assert (await up(wire, "/tmp/fits", b"x" * MEBIBYTE)).status == 200
