"""The output file: what the guest writes is what the host reads, and what a hostile guest writes hurts nobody."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandkit.guest import output

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def fresh(directory: Path) -> Path:
    """Return the path of a new, empty output file; hypothesis asks for many in one test."""
    path = directory / "output"
    path.unlink(missing_ok=True)
    os.close(output.create(path))
    return path


def stream(length: int) -> bytes:
    """Return bytes that are different at each place of a ring."""
    return b"".join(i.to_bytes(4, "big") for i in range(length // 4 + 1))[:length]


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * output.CHUNK), max_size=12), offset=st.integers(0, output.RING * 2))
def test_what_was_written_is_read(directory: Path, sizes: list[int], offset: int) -> None:
    path = fresh(directory)
    whole = stream(sum(sizes))
    fd = os.open(path, os.O_RDWR)
    try:
        writer, at = output.Writer(fd), 0
        for size in sizes:
            writer.write(whole[at : at + size])
            at += size
    finally:
        os.close(fd)
    data, end = output.read(path, offset)
    start = max(min(offset, len(whole)), len(whole) - output.KEPT, 0)
    assert (data, end) == (whole[start:], len(whole))
    assert output.read(path, end) == (b"", end)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, output.RING), min_size=1, max_size=8))
def test_a_reader_that_follows_sees_every_byte_that_was_kept(directory: Path, sizes: list[int]) -> None:
    path = fresh(directory)
    fd = os.open(path, os.O_RDWR)
    try:
        writer, offset, seen, whole = output.Writer(fd), 0, b"", stream(sum(sizes))
        for size in sizes:
            at = len(seen)
            writer.write(whole[at : at + size])
            data, next_offset = output.read(fd, offset)
            assert next_offset == at + size
            lost = size - len(data)
            assert lost == max(0, size - output.KEPT)
            seen += whole[at : at + lost] + data
            offset = next_offset
        assert seen == whole
    finally:
        os.close(fd)


def test_a_writer_goes_on_where_another_stopped(directory: Path) -> None:
    path = fresh(directory)
    for part in (b"one ", b"two"):
        fd = os.open(path, os.O_RDWR)
        output.Writer(fd).write(part)
        os.close(fd)
    assert output.read(path) == (b"one two", 7)


@settings(max_examples=60, deadline=None)
@given(code=st.integers(0, 255), sentence=st.text(max_size=2000))
def test_reports_come_back(directory: Path, code: int, sentence: str) -> None:
    path = fresh(directory)
    assert output.report(path) is None
    fd = os.open(path, os.O_RDWR)
    writer = output.Writer(fd)
    assert output.report(fd) is None
    writer.exited(code, sentence)
    found = output.report(path)
    assert found is not None
    assert (found["code"], found["signal"]) == (code, None)
    assert str(found["error"]).rstrip("\ufffd") == sentence[: len(str(found["error"]).rstrip("\ufffd"))]
    writer.killed(9)
    assert output.report(path) == {"code": None, "signal": 9, "error": ""}
    assert output.read(fd) == (b"", 0)
    os.close(fd)


@pytest.mark.promise("guest.output-untrusted")
@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(max_size=2000),
    total=st.integers(0, 2**64 - 1),
    offset=st.integers(-(2**70), 2**70),
    length=st.integers(0, output.SIZE * 2),
    magic=st.booleans(),
)
def test_a_hostile_file_is_read_within_bounds(
    directory: Path, *, content: bytes, total: int, offset: int, length: int, magic: bool
) -> None:
    path = directory / "hostile"
    path.write_bytes((b"SANDOUT1" + total.to_bytes(8, "little") + content) if magic else content)
    os.truncate(path, length)
    data, end = output.read(path, offset)
    assert len(data) <= output.KEPT
    assert 0 <= end < 2**64
    assert len(output.tail(path, 100)) <= 100
    found = output.report(path)
    assert found is None or (found.keys() == {"code", "signal", "error"} and len(str(found["error"])) < 1024)


@pytest.mark.promise("guest.output-untrusted")
def test_a_link_or_a_pipe_in_its_place_is_not_followed_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "absent"):
        with pytest.raises(OSError, match=name if name != "pipe" else "seek"):
            output.read(tmp_path / name)


def test_the_file_is_the_owners_alone_and_never_another(tmp_path: Path) -> None:
    path = tmp_path / "output"
    os.close(output.create(path))
    assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, output.SIZE)
    with pytest.raises(FileExistsError):
        output.create(path)


def test_the_tail_begins_with_a_whole_line(directory: Path) -> None:
    path = fresh(directory)
    fd = os.open(path, os.O_RDWR)
    output.Writer(fd).write(b"".join(b"line %d\n" % i for i in range(1000)))
    os.close(fd)
    assert output.tail(path, 20) == b"line 998\nline 999\n"
    assert output.tail(path).endswith(b"line 999\n")
    assert output.tail(path, 4) == b"999\n"


def test_a_reader_never_sees_bytes_that_are_being_overwritten(directory: Path) -> None:
    """Each byte of the stream tells its own position, so a torn read shows."""
    path = fresh(directory)
    period = 251  # prime, so that one round of the ring shifts it
    block = bytes(i % period for i in range(output.RING * 4 // period * period))
    fd = os.open(path, os.O_RDWR)
    writer, stop = output.Writer(fd), threading.Event()

    def write() -> None:
        while not stop.is_set():
            writer.write(block)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(200):
            data, end = output.read(path)
            assert data == bytes((end - len(data) + i) % period for i in range(len(data)))
    finally:
        stop.set()
        thread.join(30)
        os.close(fd)
