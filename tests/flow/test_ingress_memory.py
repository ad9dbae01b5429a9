"""The second request with the same head is recognised by its bytes, and treated in no way other than the first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from sandyard.domain.sandboxes import SandboxState
from sandyard.ingress.memory import remember
from support.ingress import ADDRESS, ADMITTED, KEY, OTHER_KEY, OWNERS, TOKEN, parse_head, read_reply, read_request, yard

if TYPE_CHECKING:
    from support.ingress import Reply

pytestmark = pytest.mark.anyio


def post(body: bytes, credential: bytes = b"X-Access-Token: " + TOKEN.encode()) -> bytes:
    return b"POST /x HTTP/1.1\r\n%b%b\r\nContent-Length: %d\r\nX-Last: 1\r\n\r\n%b" % (ADDRESS, credential, len(body), body)


GET = b"GET /x HTTP/1.1\r\n" + ADMITTED + b"\r\n"


async def call(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], raw: bytes) -> Reply:
    stream[1].write(raw)
    return await read_reply(stream[0])


@pytest.mark.promise("ingress.memory")
@pytest.mark.parametrize("bodies", [[b"abc", b"abc", b"d" * 2000, b"e", b"", b"f" * 300_000, b"g"], [b"", b"", b"h", b"h"]])
async def test_bodies_of_any_length_follow_a_known_head(bodies: list[bytes]) -> None:
    async with yard() as sandbox, sandbox.connect() as stream:
        replies = [await call(stream, post(body)) for body in bodies]
    assert [reply.json()["body"].encode() for reply in replies] == bodies
    assert all(f"content-length: {len(body)}\r\n" in reply.json()["head"] for body, reply in zip(bodies, replies, strict=True))
    assert len({reply.headers["x-request-id"] for reply in replies}) == len(bodies)
    assert all(TOKEN not in reply.json()["head"] for reply in replies)


@pytest.mark.promise("ingress.memory")
@pytest.mark.parametrize("before", [True, False])
async def test_request_ids_may_differ_under_a_known_head(before: bool) -> None:
    """As a client's do that names each request: the id is each request's own, wherever it stands, on both ways."""

    def asking(request_id: bytes, body: bytes) -> bytes:
        named, sized = b"X-Request-Id: %b\r\n" % request_id, b"Content-Length: %d\r\n" % len(body)
        lines = named + sized if before else sized + named
        return b"POST /x HTTP/1.1\r\n%bX-Access-Token: %b\r\n%b\r\n%b" % (ADDRESS, TOKEN.encode(), lines, body)

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(6):
            head, body = await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nX-Request-Id: theirs-%d\r\nContent-Length: %d\r\n\r\n%b" % (number, len(head), head))
            assert len(body) == number % 3

    ids = [b"a", b"a", b"order-66.retry_2", b"b" * 128, b"not one!", b"c"]
    async with yard(upstream) as sandbox, sandbox.connect() as stream:
        replies = [await call(stream, asking(ids[number], b"x" * (number % 3))) for number in range(6)]
        assert sandbox.dialer.connects == 1
    told = [reply.headers["x-request-id"] for reply in replies]
    assert (told[:4], told[5]) == (["a", "a", "order-66.retry_2", "b" * 128], "c")
    assert told[4] not in ("not one!", "b" * 128)
    assert all(reply.body.count(b"x-request-id: %b\r\n" % own.encode()) == 1 for own, reply in zip(told, replies, strict=True))
    assert all(reply.body.lower().count(b"x-request-id") == 1 for reply in replies)


@pytest.mark.promise("ingress.memory")
@pytest.mark.parametrize("value", [b"", b" a", b"a b", b"a\tb", b"a" * 129, b"a\r\nX-A: b", b"a\n", b"\xc3\xa4"])
async def test_only_plain_request_ids_are_recognised(value: bytes) -> None:
    known = remember(b"GET / HTTP/1.1\r\nX-Request-Id: first\r\nA: b\r\n\r\n", b"GET ", None)
    assert known is not None
    assert known.read(b"GET / HTTP/1.1\r\nX-Request-Id: second\r\nA: b\r\n\r\n") == (b"", None, b"second")
    assert known.read(b"GET / HTTP/1.1\r\nX-Request-Id: second\r\nA: b\r\n\r\nmore") is None
    assert known.read(b"GET / HTTP/1.1\r\nX-Request-Id: %b\r\nA: b\r\n\r\n" % value) is None


@pytest.mark.promise("ingress.memory")
@pytest.mark.parametrize(
    "ids", [b"X-Request-Id: a\r\nX-Request-Id: b\r\n", b"X-Request-Id: a\r\nx-request-id : b!\r\n", b"X-Request-Id: a b\r\n"]
)
async def test_a_head_whose_request_id_is_no_single_one_is_known_as_it_is(ids: bytes) -> None:
    data = b"GET / HTTP/1.1\r\n%b\r\n" % ids
    known = remember(data, b"GET ", None)
    assert known is not None
    assert known.read(data) == (b"", None, None)
    assert known.read(data.replace(b": a", b": c")) is None


@pytest.mark.promise("ingress.memory")
async def test_a_known_head_may_arrive_in_pieces_or_beside_another() -> None:
    async with yard() as sandbox, sandbox.connect() as (reader, writer):
        stream = reader, writer
        assert (await call(stream, GET)).status == 200
        writer.write(GET[:30])
        assert (await sandbox.ask(GET)).status == 200  # by then the first piece has been read
        assert (await call(stream, GET[30:])).status == 200
        writer.write(GET + post(b"1") + GET)
        assert [(await read_reply(reader)).json()["body"] for _ in range(3)] == ["", "1", ""]
        assert (await call(stream, post(b"2"))).json()["body"] == "2"
        assert (await call(stream, post(b"3")[:-1] + b"4")).json()["body"] == "4"


@pytest.mark.promise("ingress.memory")
@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"state": SandboxState.PAUSED}, 502, "paused"),
        ({"state": SandboxState.STOPPED, "reason": "it was killed"}, 502, "it was killed"),
        ({"access_token": "another"}, 401, "not public"),
        ({"owner": "somebody else"}, 200, ""),
    ],
)
async def test_a_change_of_the_sandbox_counts_for_the_next_request(change: dict[str, object], status: int, message: str) -> None:
    async with yard() as sandbox, sandbox.connect() as stream:
        assert [(await call(stream, GET)).status for _ in range(3)] == [200] * 3
        sandbox.change(**change)
        reply = await call(stream, GET)
    assert reply.status == status
    assert message in reply.body.decode()


@pytest.mark.promise("ingress.memory")
async def test_a_sandbox_that_is_public_no_more_asks_again() -> None:
    raw = b"GET /x HTTP/1.1\r\n" + ADDRESS + b"\r\n"
    async with yard(public=True) as sandbox, sandbox.connect() as stream:
        assert [(await call(stream, raw)).status for _ in range(2)] == [200, 200]
        sandbox.change(public=False)
        assert (await call(stream, raw)).status == 401


@pytest.mark.promise("ingress.memory")
@pytest.mark.parametrize("name", [b"X-API-Key: ", b"Authorization: Bearer "])
async def test_a_revoked_key_is_refused_on_the_same_connection(name: bytes) -> None:
    owners = dict(OWNERS)
    async with yard(owner_of=owners.get) as sandbox, sandbox.connect() as stream:
        raw = b"GET /x HTTP/1.1\r\n" + ADDRESS + name + KEY.encode() + b"\r\n\r\n"
        replies = [await call(stream, raw) for _ in range(2)]
        assert [reply.status for reply in replies] == [200, 200]
        assert all(KEY not in reply.body.decode() for reply in replies)
        owners[KEY] = "owner-2"
        assert (await call(stream, raw)).status == 403
        del owners[KEY]
        assert (await call(stream, raw)).status == 401


@pytest.mark.promise("ingress.memory")
async def test_a_resumed_sandbox_and_a_new_token_are_served_again() -> None:
    tokens = ["first"]
    async with yard(internal_token=lambda _: tokens[-1]) as sandbox, sandbox.connect() as stream:
        for token in ("first", "first", "second", "second"):
            tokens.append(token)
            assert f"x-internal-token: {token}\r\n" in (await call(stream, GET)).json()["head"]
        sandbox.change(state=SandboxState.PAUSED)
        assert (await call(stream, GET)).status == 502
        sandbox.change(state=SandboxState.RUNNING)
        assert [(await call(stream, GET)).status for _ in range(2)] == [200, 200]


@pytest.mark.promise("ingress.memory")
async def test_limits_count_for_known_heads() -> None:
    async with yard(body_bytes=1000) as sandbox, sandbox.connect() as stream:
        assert [(await call(stream, post(b"a" * 1000))).status for _ in range(2)] == [200, 200]
        assert (await call(stream, post(b"a" * 1001))).status == 413


@pytest.mark.promise("ingress.memory")
async def test_another_credential_in_the_same_place_is_another_head() -> None:
    async with yard() as sandbox, sandbox.connect() as stream:
        assert [(await call(stream, post(b"a", b"X-API-Key: " + KEY.encode()))).status for _ in range(2)] == [200, 200]
        assert (await call(stream, post(b"", b"X-API-Key: " + OTHER_KEY.encode()))).status == 403


@pytest.mark.promise("ingress.memory")
async def test_known_responses_of_any_length() -> None:
    bodies = iter([b"abc", b"abc", b"d" * 3000, b"", b"e" * 300_000, b"f"])

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in bodies:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nX-Agent: 1\r\nContent-Length: %d\r\nX-Last: 1\r\n\r\n%b" % (len(body), body))

    async with yard(upstream) as sandbox, sandbox.connect() as stream:
        replies = [await call(stream, GET) for _ in range(6)]
        assert sandbox.dialer.connects == 1
    assert [len(reply.body) for reply in replies] == [3, 3, 3000, 0, 300_000, 1]
    assert {(reply.headers["x-agent"], reply.headers["x-last"]) for reply in replies} == {("1", "1")}


@pytest.mark.promise("ingress.memory")
@pytest.mark.parametrize("second", [b"Content-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n", b"Content-Length: 3\r\n\r\nabcd"])
async def test_bytes_after_a_known_response_spoil_its_connection(second: bytes) -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + second)
        await reader.read()

    async with yard(upstream) as sandbox, sandbox.connect() as stream:
        assert [(await call(stream, GET)).body for _ in range(2)] == [b"abc", b"abc"]
        assert (await call(stream, GET)).body == b"abc"
        assert sandbox.dialer.connects == 2


@pytest.mark.promise("ingress.memory")
async def test_reply_to_head_after_a_known_response() -> None:
    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + (b"" if head.startswith(b"HEAD") else b"abc"))

    async with yard(upstream) as sandbox, sandbox.connect() as (reader, writer):
        assert [(await call((reader, writer), GET)).body for _ in range(2)] == [b"abc", b"abc"]
        writer.write(GET.replace(b"GET", b"HEAD"))
        status, headers = parse_head(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5))
        assert (status, headers["content-length"]) == (200, "3")
        assert (await call((reader, writer), GET)).body == b"abc"


@pytest.mark.promise("ingress.memory")
@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", None),
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 1),
        (b"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", 1),
        (b"GET / HTTP/1.1\r\nX-Content-Length: 1\r\n\r\na", 1),
        (b"GET / HTTP/1.1\r\nX-A: " + b"a" * 5000 + b"\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", 1),
    ],
)
async def test_what_is_not_one_whole_small_message_is_not_remembered(data: bytes, length: int | None) -> None:
    assert remember(data, b"GET ", length) is None


@pytest.mark.promise("ingress.memory")
@pytest.mark.parametrize("digits", [b"", b"-1", b"+1", b"1_0", b" 1", b"1 ", b"0x1", b"1,1", b"\xb2", b"2", b"0", b"9" * 19, b"1\r\nA: b"])
async def test_only_plain_digits_are_recognised(digits: bytes) -> None:
    known = remember(b"GET / HTTP/1.1\r\nContent-Length: 12\r\nA: b\r\n\r\n" + b"a" * 12, b"GET ", 12)
    assert known is not None
    assert known.body_of(b"GET / HTTP/1.1\r\nContent-Length: 1\r\nA: b\r\n\r\na") == b"a"
    assert known.body_of(b"GET / HTTP/1.1\r\nContent-Length: %b\r\nA: b\r\n\r\na" % digits) is None
