"""The sender keeps what the client builds on, over real sockets: the half of the choice of a library that is not speed."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time

import pytest
from anyio.from_thread import start_blocking_portal

from sandkit.http.errors import ConnectFailedError, CutShortError, TimedOutError
from sandkit.http.messages import Limits, Request
from sandkit.http.sender import AsyncSender
from sandkit.http.sync_sender import SyncSender
from support.fake_platform import Asked, FakePlatform, Line, answers, never, streams

pytestmark = pytest.mark.anyio


@pytest.fixture
async def platform():
    async with FakePlatform() as fake:
        yield fake


@pytest.fixture
async def sender():
    made = AsyncSender()
    yield made
    await made.aclose()


def get(platform: FakePlatform, path: str) -> Request:
    return Request("GET", path, base_url=platform.url)


async def read_into(parts: list[bytes], sender: AsyncSender, request: Request, seconds: float) -> None:
    async with sender.open(request, timeout=seconds) as reply:
        async for part in reply:
            parts.append(part)  # noqa: PERF401 (what came before a failure is kept)


@pytest.mark.promise("client.chunk-at-once")
async def test_a_chunk_is_given_before_the_next_one_is_sent(platform: FakePlatform, sender: AsyncSender):
    given = asyncio.Event()

    async def answer(_: Asked, line: Line):
        await line.begin()
        await line.part(b"one")
        await given.wait()
        await line.part(b"two")
        await line.end()

    platform.on("GET /", answer)
    async with asyncio.timeout(5), sender.open(get(platform, "/"), timeout=5) as reply:
        parts = aiter(reply)
        assert await anext(parts) == b"one"
        given.set()
        assert await anext(parts) == b"two"


@pytest.mark.promise("client.leaving-cancels")
async def test_a_cancelled_call_closes_its_connection(platform: FakePlatform, sender: AsyncSender):
    platform.on("GET /", never)
    task = asyncio.create_task(sender.send(get(platform, "/"), timeout=30))
    await platform.until(lambda: platform.seen)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await platform.until(lambda: platform.left == 1)


@pytest.mark.promise("client.leaving-cancels")
async def test_a_reply_that_is_left_closes_its_connection(platform: FakePlatform, sender: AsyncSender):
    async def answer(_: Asked, line: Line):
        await line.begin()
        await line.part(b"one")
        await line.left.wait()

    platform.on("GET /", answer)
    async with sender.open(get(platform, "/"), timeout=5) as reply:
        async for _ in reply:
            break
    await platform.until(lambda: platform.left == 1)


@pytest.mark.promise("client.deadlines")
async def test_a_call_has_a_deadline_and_closes_its_connection(platform: FakePlatform, sender: AsyncSender):
    platform.on("GET /", never)
    began = time.monotonic()
    with pytest.raises(TimedOutError, match="did not answer in time"):
        await sender.send(get(platform, "/"), timeout=0.05)
    assert time.monotonic() - began < 5
    await platform.until(lambda: platform.left == 1)


@pytest.mark.promise("client.deadlines")
async def test_a_stream_may_last_but_not_be_silent(platform: FakePlatform, sender: AsyncSender):
    async def answer(_: Asked, line: Line):
        await line.begin()
        for part in (b"x", b"x", b"x", b"x"):
            await line.part(part)
            await asyncio.sleep(0.05)  # the pace of a stream: longer in all than the time-out
        await line.left.wait()

    platform.on("GET /", answer)
    parts: list[bytes] = []
    with pytest.raises(TimedOutError):
        await read_into(parts, sender, get(platform, "/"), seconds=0.15)
    assert b"".join(parts) == b"xxxx"


@pytest.mark.promise("client.cut-is-an-error")
async def test_a_body_that_is_cut_short_is_an_error(platform: FakePlatform, sender: AsyncSender):
    platform.on("GET /", streams(b"data: 1\n\n", cut=True))
    with pytest.raises(CutShortError):
        await read_into([], sender, get(platform, "/"), seconds=5)


@pytest.mark.promise("client.network-errors")
async def test_where_nobody_listens_nothing_was_sent(sender: AsyncSender):
    with pytest.raises(ConnectFailedError, match=r"cannot connect to http://127\.0\.0\.1:1/"):
        await sender.send(Request("GET", "/", base_url="http://127.0.0.1:1"), timeout=5)


@pytest.mark.promise("client.network-errors")
async def test_an_answer_that_is_no_http_is_an_error(platform: FakePlatform, sender: AsyncSender):
    async def answer(_: Asked, line: Line):
        line.writer.write(b"nonsense\r\n\r\n")
        await line.writer.drain()

    platform.on("GET /", answer)
    with pytest.raises(CutShortError):
        await sender.send(get(platform, "/"), timeout=5)


@pytest.mark.promise("client.no-proxy")
async def test_the_environments_proxy_is_not_obeyed(platform: FakePlatform, sender: AsyncSender, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    platform.on("GET /", answers({"ok": True}))
    assert (await sender.send(get(platform, "/"), timeout=5)).json() == {"ok": True}


@pytest.mark.promise("client.one-pool")
async def test_the_pool_is_bounded_and_shared(platform: FakePlatform):
    busy = peak = 0

    async def answer(_: Asked, line: Line):
        nonlocal busy, peak
        busy += 1
        peak = max(peak, busy)
        await asyncio.sleep(0.01)
        busy -= 1
        await line.whole(200, b"{}", {})

    platform.on("GET /", answer)
    sender = AsyncSender(Limits(max_connections=3))
    replies = await asyncio.gather(*[sender.send(get(platform, "/"), timeout=10) for _ in range(12)])
    await sender.aclose()
    assert [reply.status for reply in replies] == [200] * 12
    assert peak == 3


async def together(platform: FakePlatform, count: int) -> None:
    """Let `GET /` answer when `count` are asked at once."""
    waiting = 0
    all_came = asyncio.Event()

    async def answer(_: Asked, line: Line) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == count:
            all_came.set()
        await all_came.wait()
        await line.whole(200, b"{}", {})

    platform.on("GET /", answer)


@pytest.mark.promise("client.kept-connections")
@pytest.mark.parametrize("kept", [0, 2])
async def test_no_more_idle_connections_are_kept_than_configured(platform: FakePlatform, kept: int) -> None:
    await together(platform, 6)
    sender = AsyncSender(Limits(max_idle=kept))
    await asyncio.gather(*[sender.send(get(platform, "/"), timeout=10) for _ in range(6)])
    await platform.until(lambda: platform.open_connections == kept)
    assert (await sender.send(get(platform, "/"), timeout=10)).status == 200
    assert platform.connections == (7 if kept == 0 else 6)
    await sender.aclose()


@pytest.mark.promise("client.kept-connections")
@pytest.mark.parametrize("kept", [0, 2])
async def test_the_synchronous_sender_keeps_no_more_either(platform: FakePlatform, kept: int, caplog: pytest.LogCaptureFixture) -> None:
    await together(platform, 6)
    sender = SyncSender(Limits(max_idle=kept))
    await asyncio.gather(*[asyncio.to_thread(sender.send, get(platform, "/"), timeout=10) for _ in range(6)])
    await platform.until(lambda: platform.open_connections == kept)
    assert (await asyncio.to_thread(sender.send, get(platform, "/"), timeout=10)).status == 200
    assert platform.connections == (7 if kept == 0 else 6)
    assert caplog.text == ""
    sender.close()


@pytest.mark.promise("client.one-pool")
async def test_the_synchronous_pool_is_bounded_and_waits_in_time(platform: FakePlatform) -> None:
    platform.on("GET /", never)
    sender = SyncSender(Limits(max_connections=1))
    waiting = asyncio.create_task(asyncio.to_thread(sender.send, get(platform, "/"), timeout=0.5))
    await platform.until(lambda: platform.seen)
    with pytest.raises(TimedOutError):
        await asyncio.to_thread(sender.send, get(platform, "/"), timeout=0.05)
    assert len(platform.seen) == 1
    with pytest.raises(TimedOutError):
        await waiting


@pytest.mark.promise("client.kept-connections")
async def test_the_synchronous_sender_lets_go_of_what_was_idle_for_long(platform: FakePlatform) -> None:
    platform.on("GET /", answers({}))
    sender = SyncSender(Limits(keepalive_expiry=0.01))
    for count in (1, 2):
        await asyncio.to_thread(sender.send, get(platform, "/"), timeout=10)
        assert platform.connections == count
        await asyncio.sleep(0.02)  # longer than the expiry: the case itself
    sender.close()


@pytest.mark.promise("client.idle-connections")
async def test_a_connection_closed_while_the_loop_was_busy_is_not_used_again(sender: AsyncSender) -> None:
    def answer_once(listener: socket.socket) -> None:
        for _ in range(2):
            line, _ = listener.accept()
            with line:
                line.recv(65536)
                line.sendall(b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}")
                line.shutdown(socket.SHUT_WR)
                line.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        serving = threading.Thread(target=answer_once, args=(listener,))
        serving.start()
        request = Request("POST", "/", body=b"{}", base_url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert (await sender.send(request, timeout=5)).status == 200
        time.sleep(0.3)  # noqa: ASYNC251 (the caller's own code that blocks the loop: the case itself)
        assert (await sender.send(request, timeout=5)).status == 200
        await sender.aclose()
        serving.join(5)


@pytest.mark.promise("client.redirects")
async def test_a_redirect_is_an_answer_and_takes_no_credential_elsewhere(platform: FakePlatform, sender: AsyncSender):
    platform.on("GET /", answers(None, 302, location="http://127.0.0.1:1/"))
    assert (await sender.send(get(platform, "/"), timeout=5)).status == 302


@pytest.mark.promise("client.refused-upload")
async def test_an_upload_that_is_refused_before_its_end_tells_why(sender: AsyncSender):
    ended = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"error_code": "too_large"}'
        writer.write(b"HTTP/1.1 413 X\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        while await reader.read(65536):  # as a server does that wants its answer to be read
            pass
        writer.close()
        await writer.wait_closed()
        ended.set()

    async def parts():
        for _ in range(256):
            yield b"x" * 65536

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reply = await sender.send(Request("POST", "/", body=parts(), base_url=url), timeout=10)
        async with asyncio.timeout(5):
            await ended.wait()
    assert (reply.status, reply.json()) == (413, {"error_code": "too_large"})


@pytest.mark.promise("client.any-loop")
def test_one_sender_serves_loops_that_come_and_go(recwarn: pytest.WarningsRecorder):
    senders = [AsyncSender()]
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(FakePlatform()) as platform:
        platform.on("GET /", answers({}))

        async def ask() -> int:
            return (await senders[0].send(get(platform, "/"), timeout=5)).status

        assert [asyncio.run(ask()) for _ in range(3)] == [200, 200, 200]
        senders.clear()
        gc.collect()
        assert [str(warning.message) for warning in recwarn] == []
