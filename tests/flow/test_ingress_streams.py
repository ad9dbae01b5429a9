"""Streams through the ingress: at once, whole or visibly cut, as fast as the slower side."""

from __future__ import annotations

import asyncio

import pytest
import websockets.asyncio.client
import websockets.asyncio.server

from sandyard.domain.sandboxes import SandboxState
from support.ingress import ADMITTED, ID, TOKEN, listening, parse_head, read_chunks, read_reply, read_request, says, yard

pytestmark = pytest.mark.anyio

GET = b"GET /x HTTP/1.1\r\n" + ADMITTED + b"\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.promise("ingress.streaming")
async def test_a_chunk_arrives_before_the_next_exists() -> None:
    seen = asyncio.Semaphore(0)

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED_HEAD)
        for number in range(20):
            writer.write(b"2\r\n%02d\r\n" % number)
            await seen.acquire()
        writer.write(b"0\r\n\r\n")

    async with yard(upstream) as sandbox, sandbox.connect() as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        numbers: list[int] = []
        async for piece in read_chunks(reader):
            numbers.append(int(piece))
            seen.release()
    assert numbers == list(range(20))


@pytest.mark.promise("ingress.streaming")
async def test_an_upload_arrives_piece_by_piece() -> None:
    seen = asyncio.Semaphore(0)

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        async for _ in read_chunks(reader):
            seen.release()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with yard(upstream) as sandbox, sandbox.connect() as (reader, writer):
        writer.write(b"POST /x HTTP/1.1\r\n" + ADMITTED + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            writer.write(b"1\r\nx\r\n")
            await asyncio.wait_for(seen.acquire(), 5)
        writer.write(b"0\r\n\r\n")
        assert (await read_reply(reader)).status == 204


@pytest.mark.promise("ingress.cut")
@pytest.mark.parametrize(
    "said",
    [
        CHUNKED_HEAD + b"5\r\nhello\r\n",
        CHUNKED_HEAD + b"5\r\nhel",
        CHUNKED_HEAD + b"5\r\nhello\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    ],
)
async def test_a_cut_stream_has_no_clean_end(said: bytes) -> None:
    async with yard(says(said)) as sandbox:
        answer = await sandbox.everything(GET)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"hel" in answer
    assert not answer.endswith(b"0\r\n\r\n")


@pytest.mark.promise("ingress.cut")
async def test_a_body_that_ends_with_its_connection_is_whole_only_if_the_sandbox_lives() -> None:
    async with yard(says(b"HTTP/1.1 200 OK\r\n\r\nhello")) as sandbox:
        assert (await sandbox.everything(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).endswith(b"5\r\nhello\r\n0\r\n\r\n")
    ended = asyncio.Event()

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await ended.wait()

    async with yard(dies) as sandbox, sandbox.connect() as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"hello\r\n")
        sandbox.dialer.end(ID)
        ended.set()
        assert await asyncio.wait_for(reader.read(), 5) == b""


@pytest.mark.promise("ingress.cut")
async def test_http_1_0_clients_see_the_cut_as_a_reset() -> None:
    ended = asyncio.Event()

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED_HEAD + b"5\r\nhello\r\n")
        await ended.wait()

    async with yard(dies) as sandbox, sandbox.connect() as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\n" + ADMITTED + b"\r\n")
        head = await reader.readuntil(b"hello")
        assert b"transfer-encoding" not in head
        ended.set()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)


@pytest.mark.promise("ingress.crash")
async def test_a_crash_before_the_answer_is_explained() -> None:
    asked = asyncio.Event()

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()

    async with yard(dies, crash_wait=5.0) as sandbox:
        question = asyncio.ensure_future(sandbox.ask(b"POST /x HTTP/1.1\r\n" + ADMITTED + b"Content-Length: 2\r\n\r\n{}"))
        await asyncio.wait_for(asked.wait(), 5)
        sandbox.change(state=SandboxState.FAILED, reason="The agent exited with code 7", exit_code=7, output="Traceback")
        reply = await question
    assert (reply.status, reply.json()["error_code"]) == (502, "agent_crashed")
    assert reply.json()["details"]["exit_code"] == 7
    assert reply.json()["details"]["output"] == "Traceback"


@pytest.mark.promise("ingress.crash")
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 300_000 + b"\r\n",
    ],
)
async def test_what_is_no_http_is_502(said: bytes) -> None:
    async with yard(says(said)) as sandbox:
        reply = await sandbox.ask(GET)
    assert (reply.status, reply.json()["error_code"]) == (502, "agent_crashed")


@pytest.mark.promise("ingress.leaving")
@pytest.mark.parametrize("answering", [True, False])
async def test_a_client_that_leaves_ends_the_work(answering: bool) -> None:
    left, asked = asyncio.Event(), asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if answering:
            writer.write(CHUNKED_HEAD + b"1\r\nx\r\n")
        asked.set()
        await reader.read()
        left.set()

    async with yard(upstream) as sandbox:
        async with sandbox.connect() as (_, writer):
            writer.write(GET)
            await asyncio.wait_for(asked.wait(), 5)
        await asyncio.wait_for(left.wait(), 5)


@pytest.mark.promise("ingress.back-pressure")
async def test_a_client_that_does_not_read_stops_the_sandbox() -> None:
    written = 0
    stuck = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while written < 100_000_000:
            writer.write(b"x" * 100_000)
            written += 100_000
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                stuck.set()
                await writer.drain()

    async with yard(upstream) as sandbox, sandbox.connect() as (reader, writer):
        writer.write(GET)
        await asyncio.wait_for(stuck.wait(), 20)
        assert written < 50_000_000
        await reader.readuntil(b"\r\n\r\n")
        left = 100_000_000
        while left:
            left -= len(await asyncio.wait_for(reader.read(1 << 20), 10))


@pytest.mark.promise("ingress.back-pressure")
async def test_a_sandbox_that_does_not_read_stops_the_client() -> None:
    read_on = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 60000000" in head
        await read_on.wait()
        left = 60_000_000
        while left:
            left -= len(await reader.read(1 << 20))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with yard(upstream) as sandbox, sandbox.connect() as (reader, writer):
        writer.write(b"POST /x HTTP/1.1\r\n" + ADMITTED + b"Content-Length: 60000000\r\n\r\n")
        sent = 0
        stuck = False
        while sent < 60_000_000 and not stuck:
            writer.write(b"x" * 100_000)
            sent += 100_000
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                stuck = True
        assert sent < 40_000_000
        read_on.set()
        while sent < 60_000_000:
            writer.write(b"x" * 100_000)
            sent += 100_000
            await asyncio.wait_for(writer.drain(), 10)
        assert (await read_reply(reader)).body == b"ok"


@pytest.mark.promise("ingress.websocket")
async def test_websocket_echo() -> None:
    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with yard() as sandbox, websockets.asyncio.server.serve(echo, "127.0.0.1", 0) as server:
        sandbox.dialer.open(ID, 3000, next(iter(server.sockets)).getsockname()[1])
        headers = {"PPIO-Sandbox-Id": ID, "PPIO-Sandbox-Port": "3000", "X-Access-Token": TOKEN}
        url = f"ws://127.0.0.1:{sandbox.port}/ws"
        async with websockets.asyncio.client.connect(url, additional_headers=headers, proxy=None) as connection:
            for message in ("hello", b"x" * 500_000, "end"):
                await connection.send(message)
                assert await asyncio.wait_for(connection.recv(), 10) == message
        with pytest.raises(websockets.exceptions.InvalidStatus):
            await websockets.asyncio.client.connect(url, additional_headers={"PPIO-Sandbox-Id": ID}, proxy=None)


@pytest.mark.promise("ingress.keep-alive")
async def test_thousands_of_requests_share_one_connection() -> None:
    async with yard() as sandbox, sandbox.connect() as (reader, writer):
        for number in range(3000):
            writer.write(b"POST /%d HTTP/1.1\r\n" % number + ADMITTED + b"Content-Length: 4\r\n\r\n%04d" % number)
            reply = await read_reply(reader)
            assert reply.json()["body"] == f"{number:04d}"
        assert sandbox.dialer.connects == 1


@pytest.mark.promise("ingress.keep-alive")
async def test_a_connection_that_closes_under_the_request_is_replaced_once() -> None:
    connections = 0

    async def one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await read_request(reader)  # and closes without an answer

    async with yard(one_answer) as sandbox:
        assert (await sandbox.ask(GET)).status == 200
        assert (await sandbox.ask(GET)).status == 200
        assert connections == 2
        posted = await sandbox.ask(b"POST /x HTTP/1.1\r\n" + ADMITTED + b"Content-Length: 0\r\n\r\n")
    assert posted.json()["error_code"] == "agent_crashed"


@pytest.mark.promise("ingress.keep-alive")
async def test_pipelined_requests_are_answered_in_order() -> None:
    async with yard() as sandbox, sandbox.connect() as (reader, writer):
        writer.write(b"".join(b"POST /%d HTTP/1.1\r\n" % n + ADMITTED + b"Content-Length: 1\r\n\r\n%d" % n for n in range(10)))
        assert [(await read_reply(reader)).json()["body"] for _ in range(10)] == [str(n) for n in range(10)]


@pytest.mark.promise("ingress.many")
async def test_two_hundred_streams_side_by_side() -> None:
    together = asyncio.Event()
    waiting = 0

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        await read_request(reader)
        writer.write(CHUNKED_HEAD + b"1\r\na\r\n")
        waiting += 1
        if waiting == 200:
            together.set()
        await together.wait()
        writer.write(b"1\r\nb\r\n0\r\n\r\n")

    async with yard(upstream) as sandbox:
        replies = await asyncio.gather(*(sandbox.ask(GET) for _ in range(200)))
    assert {reply.body for reply in replies} == {b"ab"}


@pytest.mark.promise("ingress.framing")
async def test_bodiless_and_interim_responses() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with (
        yard(says(early + b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")) as sandbox,
        sandbox.connect() as (reader, writer),
    ):
        writer.write(GET)
        heads = [parse_head(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5))[0] for _ in range(2)]
    assert heads == [103, 304]
    async with yard(says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as sandbox:
        answer = await sandbox.everything(b"HEAD / HTTP/1.1\r\nConnection: close\r\n" + ADMITTED + b"\r\n")
    assert b"content-length: 5" in answer.lower()


@pytest.mark.promise("ingress.framing")
async def test_bytes_after_a_response_spoil_the_connection() -> None:
    double = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(double)

    async with yard(upstream) as sandbox:
        for _ in range(5):
            assert (await sandbox.ask(GET)).body == b"ok"
        assert sandbox.dialer.connects == 5


async def test_closing_lets_a_stream_finish_and_refuses_new_connections() -> None:
    go_on = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED_HEAD + b"1\r\na\r\n")
        await go_on.wait()
        writer.write(b"0\r\n\r\n")

    async with listening(upstream), yard(upstream, drain_timeout=10.0) as sandbox, sandbox.connect() as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"\r\n1\r\na\r\n")
        closing = asyncio.ensure_future(sandbox.ingress.aclose())
        go_on.set()
        assert await asyncio.wait_for(reader.read(), 5) == b"0\r\n\r\n"
        writer.close()
        await asyncio.wait_for(closing, 5)
        with pytest.raises(OSError, match=r"refused|111"):
            await asyncio.open_connection("127.0.0.1", sandbox.port)
