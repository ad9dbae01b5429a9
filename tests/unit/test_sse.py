"""Server-sent events: what is written is read again, however the bytes are cut; the standard's corner cases."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkit.wire import sse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
event_names = st.text(alphabet="abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Return the pieces of `stream` between the (unsorted, any) cut points."""
    places = [0, *sorted(c % (len(stream) + 1) for c in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(places)]


def decode(pieces: list[bytes]) -> list[sse.Event]:
    decoder = sse.Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.promise("sse.standard")
@pytest.mark.parametrize(
    ("stream", "is_within"),
    [
        (b"", False),
        (b"data: a\n\n", False),
        (b"data: a\n\r\n", False),
        (b"data: a\r\r\n", False),
        (b"data: a\n\n\n: bye\n", False),
        (b"data: a\n\n: bye", False),
        (b"data: a\n\ndata: b", True),
        (b"data: a\n\n: bye\ndata: b\n", True),
    ],
)
@given(st.lists(st.integers(0, 100), max_size=6))
def test_an_end_within_an_event_is_seen(stream: bytes, is_within: bool, cuts: list[int]) -> None:
    decoder = sse.Decoder()
    for piece in cut(stream, cuts):
        decoder.feed(piece)
    assert decoder.is_within_an_event is is_within


@pytest.mark.promise("sse.round-trip")
@given(st.lists(st.tuples(json_values, st.none() | event_names), max_size=8), st.lists(st.integers(0, 10_000), max_size=20))
def test_json_chunks_survive_any_cutting(chunks: list[tuple[object, str | None]], cuts: list[int]) -> None:
    stream = b"".join(sse.HEARTBEAT + sse.encode(orjson.dumps(value), event) for value, event in chunks)
    events = decode(cut(stream, cuts))
    assert [(orjson.loads(e.data), e.event) for e in events] == [(value, event or "message") for value, event in chunks]


@pytest.mark.promise("sse.round-trip")
@given(st.lists(st.text(), min_size=1, max_size=5), st.sampled_from([b"\n", b"\r", b"\r\n"]), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_text_survives_any_line_end(texts: list[str], line_end: bytes, cuts: list[int]) -> None:
    stream = b"".join(sse.encode(text.encode()) for text in texts).replace(b"\n", line_end)
    expected = [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]
    assert [event.data for event in decode(cut(stream, cuts))] == expected


@pytest.mark.promise("sse.round-trip")
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_cutting_never_changes_what_is_read(stream: bytes, cuts: list[int]) -> None:
    assert decode(cut(stream, cuts)) == decode([stream])


@pytest.mark.promise("sse.standard")
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\ndata: b\n\n", [sse.Event("a\nb")]),
        (b"data\n\ndata\ndata\n\ndata:", [sse.Event(""), sse.Event("\n")]),
        (b"data:test\n\ndata: test\n\ndata:  test\n\n", [sse.Event("test"), sse.Event("test"), sse.Event(" test")]),
        (b"\xef\xbb\xbfdata: bom\n\n\xef\xbb\xbfdata: not again\n\n", [sse.Event("bom")]),
        (b": comment\n\n:\n\ndata: x\n\n", [sse.Event("x")]),
        (b"event: add\ndata: 1\n\ndata: 2\n\n", [sse.Event("1", "add"), sse.Event("2")]),
        (b"event: lonely\n\ndata: 2\n\n", [sse.Event("2")]),
        (b"id: 7\ndata: 1\n\ndata: 2\n\nid\ndata: 3\n\n", [sse.Event("1", id="7"), sse.Event("2", id="7"), sse.Event("3")]),
        (b"id: 1\0\ndata: 1\n\n", [sse.Event("1")]),
        (b"data: cut off\n", []),
        (b"other: field\ndata: x\n\n", [sse.Event("x")]),
        (b"\n\n\n\n\ndata: x\n\n\n\n", [sse.Event("x")]),
        (b"data: bad \xff utf-8\n\n", [sse.Event("bad \ufffd utf-8")]),
    ],
)
def test_the_standard(stream: bytes, expected: list[sse.Event]) -> None:
    assert decode([stream]) == expected
    assert decode([bytes([byte]) for byte in stream]) == expected


@pytest.mark.promise("sse.standard")
def test_an_event_is_there_with_its_blank_line_not_later() -> None:
    decoder = sse.Decoder()
    assert decoder.feed(b"data: 1\r\n\r") == [sse.Event("1")]
    assert decoder.feed(b"\ndata: 2\r\r") == [sse.Event("2")]


@pytest.mark.promise("sse.standard")
def test_retry_is_kept_for_whom_it_concerns() -> None:
    decoder = sse.Decoder()
    decoder.feed("retry: 1500\n\nretry: ²\n\nretry: soon\n\n".encode())
    assert decoder.retry == 1500


@pytest.mark.promise("sse.round-trip")
def test_a_long_event_in_small_pieces() -> None:
    text = "x" * 3_000_000
    stream = sse.encode(text.encode())
    assert decode([stream[i : i + 4096] for i in range(0, len(stream), 4096)]) == [sse.Event(text)]
