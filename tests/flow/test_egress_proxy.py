"""The proxy of sandboxes over real sockets, with a resolver that says what a hostile one would."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from sandyard.domain.specs import EgressPolicy
from sandyard.egress import EgressLimits, EgressProxy, Usage
from support.ingress import listening, read_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from sandyard.egress.addresses import Address

pytestmark = pytest.mark.anyio


class Names:
    """A resolver that knows a few names and counts look-ups; `slow.test` answers when it is released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waiting = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        if host == "slow.test":
            self.waiting.set()
            await self.release.wait()
        known = {"slow.test": ["127.0.0.1"], "world.test": ["127.0.0.1"], "private.test": ["10.0.0.1"], "mixed.test": ["::1", "127.0.0.1"]}
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [ip_address(text) for text in known[host]]


@dataclass
class Out:
    proxy: EgressProxy
    names: Names
    port: int
    world: int

    async def say(self, raw: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(raw.encode())
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.transport.abort()


def listener() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


async def tells(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head, body = await read_request(reader)
    text = head + body
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


async def repeats(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")


@asynccontextmanager
async def out(handler: Any = tells, *, allow: tuple[str, ...] = ("world.test", "mixed.test"), **limits: Any) -> AsyncGenerator[Out, None]:
    names = Names()
    proxy = EgressProxy(names, limits=EgressLimits(**limits))
    sock = listener()
    async with listening(handler) as world:
        proxy.attach("one", sock, EgressPolicy(allow=allow))
        try:
            yield Out(proxy, names, sock.getsockname()[1], world)
        finally:
            await proxy.aclose()


@pytest.mark.promise("egress.refusal")
@pytest.mark.parametrize("target", ["private.test", "10.0.0.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"])
async def test_refusal_stands_in_reason_and_body(target: str) -> None:
    async with out() as way:
        answer = (await way.say(f"CONNECT {target}:443 HTTP/1.1\r\n\r\n")).decode()
        usage = way.proxy.usage("one")
    assert answer.startswith("HTTP/1.1 403 sandyard egress: ")
    sentence = answer.partition("\r\n")[0].removeprefix("HTTP/1.1 403 ")
    assert "allow list of this sandbox" in sentence
    assert answer.endswith(f"\r\n\r\n{sentence}\n")
    assert usage.refused == 1


@pytest.mark.promise("egress.refusal")
async def test_a_closed_policy_names_the_list_and_asks_no_resolver() -> None:
    names, sock = Names(), listener()
    proxy = EgressProxy(names)
    proxy.attach("one", sock, EgressPolicy(public=False, allow=("index.test",)))
    way = Out(proxy, names, sock.getsockname()[1], 0)
    answer = await way.say("CONNECT example.com:443 HTTP/1.1\r\n\r\n")
    await proxy.aclose()
    assert answer.startswith(b"HTTP/1.1 403 sandyard egress: example.com:443 is not on the allow list of this sandbox\r\n")
    assert names.asked == []


@pytest.mark.promise("egress.resolve-once")
async def test_the_name_is_resolved_once_and_that_address_is_used() -> None:
    async with out() as way:
        answer = await way.say(f"GET http://world.test:{way.world}/a?b HTTP/1.1\r\nHost: evil\r\nProxy-Authorization: x\r\n\r\n")
        fallback = await way.say(f"GET http://mixed.test:{way.world}/ HTTP/1.1\r\n\r\n")
    assert way.names.asked == ["world.test", "mixed.test"]
    assert fallback.startswith(b"HTTP/1.1 200 OK")
    assert b"GET /a?b HTTP/1.1\r\nhost: world.test:" in answer
    assert b"evil" not in answer
    assert b"proxy-" not in answer.lower()


@pytest.mark.promise("egress.tunnel")
async def test_a_tunnel_carries_both_ways_with_half_close_and_a_meter() -> None:
    async with out(repeats) as way:
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(f"CONNECT world.test:{way.world} HTTP/1.1\r\n\r\nearly ".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        payload = b"x" * 3_000_000
        sending = asyncio.ensure_future(_send(writer, payload))
        received = await asyncio.wait_for(reader.read(6), 5)
        while chunk := await asyncio.wait_for(reader.read(1 << 20), 10):
            received += chunk
        await sending
        writer.close()
        usage = way.proxy.usage("one")
    assert received == b"early " + payload + b"bye"
    assert usage == Usage(bytes_out=len(payload) + 6, bytes_in=len(payload) + 9, refused=0)


async def _send(writer: asyncio.StreamWriter, payload: bytes) -> None:
    writer.write(payload)
    await writer.drain()
    writer.write_eof()


@pytest.mark.promise("egress.request")
async def test_a_chunked_request_is_framed_anew_and_a_second_one_is_not_served() -> None:
    async with out() as way:
        body = "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
        second = "GET http://other.test/ HTTP/1.1\r\n\r\n"
        answer = await way.say(f"POST http://world.test:{way.world}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}{second}")
    assert answer.count(b"HTTP/1.1 200") == 1
    assert answer.endswith(b"\r\n\r\nabc")
    assert way.names.asked == ["world.test"]


@pytest.mark.promise("egress.malformed")
@pytest.mark.parametrize(
    "raw",
    ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT x HTTP/1.1\r\n\r\n", "CONNECT u@x:1 HTTP/1.1\r\n\r\n", "GET http://u@x/ HTTP/1.1\r\n\r\n",
     "GET https://x/ HTTP/1.1\r\n\r\n", "nonsense\r\n\r\n", "GET http://x/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
)  # fmt: skip
async def test_malformed_requests(raw: str) -> None:
    async with out() as way:
        assert (await way.say(raw)).startswith(b"HTTP/1.1 400 sandyard egress: ")
    assert way.names.asked == []


@pytest.mark.promise("egress.unreachable")
async def test_unreachable_and_silent_destinations() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    async with out(allow=("world.test", "slow.test"), connect_timeout=0.2) as way:
        refused = await way.say(f"CONNECT world.test:{closed} HTTP/1.1\r\n\r\n")
        unknown = await way.say("CONNECT nowhere.test:80 HTTP/1.1\r\n\r\n")
        slow = await way.say("CONNECT slow.test:80 HTTP/1.1\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 502 sandyard egress: world.test:")
    assert unknown.startswith(b"HTTP/1.1 502 sandyard egress: the name nowhere.test cannot be resolved")
    assert slow.startswith(b"HTTP/1.1 504 sandyard egress: slow.test:80 did not answer in time")


@pytest.mark.promise("egress.limits")
async def test_limits_of_heads_time_and_connections() -> None:
    async with out(head_bytes=500, head_timeout=0.1) as way:
        assert (await way.say("CONNECT " + "x" * 1000)).startswith(b"HTTP/1.1 431 ")
        assert (await way.say("CONNECT x")).startswith(b"HTTP/1.1 408 ")
    async with out(repeats, connections=1) as way:
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(f"CONNECT world.test:{way.world} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        assert (await way.say("CONNECT world.test:1 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        writer.transport.abort()


@pytest.mark.promise("egress.detach")
async def test_detaching_cuts_and_a_second_attach_replaces() -> None:
    async with out(repeats) as way:
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(f"CONNECT world.test:{way.world} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        again = listener()
        way.proxy.attach("one", again, EgressPolicy(deny=("world.test",)))
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        other = Out(way.proxy, way.names, again.getsockname()[1], 0)
        assert b"deny list" in await other.say("CONNECT world.test:1 HTTP/1.1\r\n\r\n")
        way.proxy.detach("one")
        way.proxy.detach("one")
        assert way.proxy.usage("one") == Usage()
        with pytest.raises(ValueError, match="port"):
            way.proxy.attach("two", again, EgressPolicy(allow=("x:0",)))


@pytest.mark.promise("egress.change")
async def test_a_changed_policy_cuts_what_it_refuses_and_nothing_else() -> None:
    async with out(repeats) as way:
        ways = [await _tunnel(way, host) for host in ("world.test", "mixed.test")]
        way.proxy.change("one", EgressPolicy(allow=("world.test", "mixed.test"), owner_deny=("world.test",)))
        assert await asyncio.wait_for(ways[0][0].read(), 5) == b""
        ways[1][1].write(b"still here")
        assert await asyncio.wait_for(ways[1][0].readexactly(10), 5) == b"still here"
        assert b"deny list" in await way.say("CONNECT world.test:1 HTTP/1.1\r\n\r\n")
        way.proxy.change("one", EgressPolicy(allow=("world.test", "mixed.test")))
        ways.append(await _tunnel(way, "world.test"))
        with pytest.raises(ValueError, match="port"):
            way.proxy.change("one", EgressPolicy(owner_deny=("x:0",)))
        way.proxy.change("unknown", EgressPolicy())
        for _, writer in ways:
            writer.close()


@pytest.mark.promise("egress.change")
async def test_a_policy_that_changes_while_a_way_is_opened_holds_for_it() -> None:
    async with out(allow=("slow.test", "world.test"), connect_timeout=5) as way:
        asked = asyncio.ensure_future(way.say("CONNECT slow.test:80 HTTP/1.1\r\n\r\n"))
        await asyncio.wait_for(way.names.waiting.wait(), 5)
        way.proxy.change("one", EgressPolicy(public=False, owner_deny=("0.0.0.0/0",)))
        way.names.release.set()
        assert b"deny list" in await asked


@pytest.mark.promise("egress.owner")
async def test_an_owners_allow_list_is_by_name_beats_his_deny_list_and_opens_nothing_of_the_operators() -> None:
    async with out() as way:
        everything = ("0.0.0.0/0",)
        way.proxy.change("one", EgressPolicy(allow=("world.test",), owner_deny=everything, owner_allow=("world.test", "private.test")))
        assert b" 200 OK" in await way.say(f"GET http://world.test:{way.world}/ HTTP/1.1\r\n\r\n")
        asked = len(way.names.asked)
        assert b"deny list" in await way.say("CONNECT elsewhere.test:80 HTTP/1.1\r\n\r\n")
        assert len(way.names.asked) == asked
        assert b"private address" in await way.say("CONNECT private.test:80 HTTP/1.1\r\n\r\n")
        assert b"deny list" in await way.say("CONNECT 8.8.8.8:80 HTTP/1.1\r\n\r\n")
        way.proxy.change("one", EgressPolicy(deny=("world.test",), owner_allow=("world.test",)))
        assert b"deny list" in await way.say("CONNECT world.test:80 HTTP/1.1\r\n\r\n")


async def _tunnel(way: Out, host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
    writer.write(f"CONNECT {host}:{way.world} HTTP/1.1\r\n\r\n".encode())
    assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return reader, writer
