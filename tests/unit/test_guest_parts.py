"""The parts of the guest's HTTP side that need no sandbox: heads, multipart bodies, and the loop under everything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkit.guest.envd import heads
from sandkit.guest.envd.loop import Bell, Channel, Lock, Loop
from sandkit.guest.envd.multipart import Multipart
from sandkit.guest.envd.users import User
from sandkit.guest.light import decode, encode

if TYPE_CHECKING:
    from collections.abc import Coroutine

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


def run(loop: Loop, *coroutines: Coroutine[Any, None, None]) -> None:
    """Run all of them, to the end of the last."""
    tasks = [loop.spawn(each) for each in coroutines]

    async def wait() -> None:
        for task in tasks:
            while not task.ended:
                await task.done.wait()

    loop.run(wait())


@pytest.mark.promise("envd.files")
@given(
    parts=st.lists(st.tuples(st.sampled_from(["file", "other"]), st.binary(max_size=60)), max_size=4),
    boundary=st.sampled_from(["B", "----x", "a b'c"]),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=20),
)
def test_a_multipart_body_is_the_same_however_it_is_cut(parts: list[tuple[str, bytes]], boundary: str, cuts: list[int]) -> None:
    mark = boundary.encode()
    parts = [(name, data.replace(b"--", b"- ")) for name, data in parts]
    body = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (mark, name.encode(), data) for name, data in parts
    )
    body += b"--" + mark + b"--\r\n"
    pieces: list[bytes] = []
    while body:
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(body[:size])
        body = body[size:]
    found: list[tuple[str, bytes]] = []

    async def read() -> bytes:
        return pieces.pop(0) if pieces else b""

    async def collect() -> None:
        reader = Multipart(f'multipart/form-data; boundary="{boundary}"', read)
        while (names := await reader.next()) is not None:
            data = b""
            while piece := await reader.read():
                data += piece
            found.append((names[0], data))

    run(Loop(), collect())
    assert found == parts


@pytest.mark.promise("envd.connect")
@given(JSON)
def test_json_comes_back_as_it_went(value: Any) -> None:
    text = encode(value)
    assert text.isascii()
    assert decode(text) == value


@pytest.mark.promise("envd.hostile")
@given(st.binary(max_size=200))
def test_any_head_is_a_head_or_refused(raw: bytes) -> None:
    for data in (raw, b"GET /" + raw + b" HTTP/1.1", b"GET / HTTP/1.1\r\n" + raw):
        status, path = parsed(data)
        assert status in (200, 400)
        assert path.startswith("/")
        assert "//" not in path


def parsed(data: bytes) -> tuple[int, str]:
    """Return the status of a refusal, or 200 and the path."""
    try:
        return 200, heads.parse(data).path
    except heads.Refused as refused:
        return refused.status, "/"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_was_quoted_is_unquoted(text: str) -> None:
    assert heads.unquote("".join(f"%{byte:02X}" for byte in text.encode())) == text
    assert heads.unquote("%") == "%"
    assert heads.unquote("%zz%4") == "%zz%4"


def test_parameters_of_headers() -> None:
    value = 'form-data; name="file"; filename="a;\\"b\\"=c.txt"; x = y'
    assert heads.parameters(value) == ("form-data", {"name": "file", "filename": 'a;"b"=c.txt', "x": "y"})
    for odd in ("", ";", ";;=", 'a; b="', "a;b;c=", '"'):
        heads.parameters(odd)


@pytest.mark.promise("envd.environment")
@pytest.mark.parametrize(
    ("text", "path"),
    [("", "/home/u"), ("a/../b", "/home/u/b"), ("~", "/home/u"), ("~/x", "/home/u/x"), ("/x//y/", "/x/y"), ("//x", "/x"), ("../..", "/")],
)
def test_paths_start_at_home(text: str, path: str) -> None:
    assert User("u", uid=1, gid=1, home="/home/u", shell="/bin/sh").path(text) == path


@pytest.mark.promise("envd.deadline")
def test_a_limit_ends_its_block_and_only_that() -> None:
    loop = Loop()
    seen: list[str] = []

    async def waits() -> None:
        try:
            with loop.limit(0.01):
                await Bell(loop).wait()
        except TimeoutError:
            seen.append("limited")
        with loop.limit(60):
            await loop.turn()
        with loop.limit(None):
            await loop.turn()
        try:
            with loop.limit(60), loop.limit(0.01):
                await Bell(loop).wait()
        except TimeoutError:
            seen.append("inner")

    run(loop, waits())
    assert seen == ["limited", "inner"]


def test_a_lock_admits_one_at_a_time_also_after_a_cancelled_one() -> None:
    loop = Loop()
    lock = Lock(loop)
    order: list[int] = []

    async def holds(number: int) -> None:
        async with lock:
            order.append(number)
            for _ in range(3):
                await loop.turn()
            order.append(number)

    async def gives_up() -> None:
        try:
            with loop.limit(0.001):
                async with lock:
                    await Bell(loop).wait()
        except TimeoutError:
            order.append(0)

    run(loop, gives_up(), holds(1), holds(2))
    assert order == [0, 1, 1, 2, 2]


def test_cancelled_timers_do_not_pile_up() -> None:
    loop = Loop()

    async def many() -> None:
        for _ in range(5000):
            with loop.limit(600):
                await loop.turn()

    run(loop, many())
    assert len(vars(loop)["_timers"]) < 200


def test_channels_carry_more_than_a_pipe_holds() -> None:
    loop = Loop()
    reading, writing = os.pipe()
    source, target = Channel(loop, writing), Channel(loop, reading)
    data = os.urandom(1_000_000)
    got = bytearray()

    async def write() -> None:
        await source.write(data)
        source.close()

    async def read() -> None:
        while piece := await target.read(4096):
            got.extend(piece)
        target.close()

    run(loop, write(), read())
    assert got == data
