"""The agent's connections: what HTTP/1.1 asks of a server, whatever the agent does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from support.agents import WAIT_SECONDS, Agent, serving

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.abc import SocketStream

pytestmark = [pytest.mark.anyio, pytest.mark.promise("agent.connections")]

HEAD = """
import asyncio
from starlette.responses import Response
from ppio_sandbox.agent_runtime import AgentRuntimeApp
app = AgentRuntimeApp()
"""
ECHO = "@app.entrypoint\nasync def agent(request):\n    return request\n"
RUN = "\napp.run()\n"


def post(body: bytes, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST /invocations HTTP/{version}", "Host: agent", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def until(stream: SocketStream, marker: bytes, times: int = 1) -> bytes:
    seen = b""
    with anyio.fail_after(WAIT_SECONDS):
        while seen.count(marker) < times:
            seen += await stream.receive()
    return seen


async def to_end(stream: SocketStream) -> bytes:
    seen = b""
    with anyio.fail_after(WAIT_SECONDS):
        async for part in stream:
            seen += part
    return seen


async def connected(agent: Agent) -> SocketStream:
    return await anyio.connect_tcp("127.0.0.1", agent.port)


async def test_requests_that_come_at_once_are_answered_in_their_order(tmp_path: Path) -> None:
    async with serving(HEAD + ECHO + RUN, tmp_path) as agent, await connected(agent) as stream:
        bodies = [b'{"n":%d}' % number for number in range(5)]
        await stream.send(b"".join(post(body, "Content-Length: 7") for body in bodies))
        seen = await until(stream, b'"error":null', 5)
    assert [seen.index(body) for body in bodies] == sorted(seen.index(body) for body in bodies)


async def test_a_body_in_pieces_and_in_chunks_arrives_whole(tmp_path: Path) -> None:
    async with serving(HEAD + ECHO + RUN, tmp_path) as agent, await connected(agent) as stream:
        text = b"x" * 300_000
        await stream.send(post(b"", "Content-Length: 300002"))
        await stream.send(b'"' + text[:100_000])
        await stream.send(text[100_000:] + b'"')
        assert text in await until(stream, b'"error":null')
        await stream.send(post(b'4\r\n{"n"\r\n3\r\n:1}\r\n0\r\n\r\n', "Transfer-Encoding: chunked"))
        assert b'{"n":1}' in await until(stream, b'"error":null')


async def test_a_caller_that_waits_for_leave_gets_it(tmp_path: Path) -> None:
    async with serving(HEAD + ECHO + RUN, tmp_path) as agent, await connected(agent) as stream:
        await stream.send(post(b"", "Content-Length: 7", "Expect: 100-continue"))
        assert await until(stream, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send(b'{"n":1}')
        assert b'{"n":1}' in await until(stream, b'"error":null')


@pytest.mark.parametrize(("version", "headers"), [("1.0", ()), ("1.1", ("Connection: close",))])
async def test_a_caller_that_keeps_no_connection_is_told_that_it_ends(version: str, headers: tuple[str, ...], tmp_path: Path) -> None:
    async with serving(HEAD + ECHO + RUN, tmp_path) as agent, await connected(agent) as stream:
        await stream.send(post(b'{"n":1}', "Content-Length: 7", *headers, version=version))
        answer = await to_end(stream)
    assert b"connection: close\r\n" in answer
    assert answer.endswith(b'"error":null}')


async def test_the_answer_to_head_has_no_body(tmp_path: Path) -> None:
    async with serving(HEAD + ECHO + RUN, tmp_path) as agent:
        answer = await agent.get("/ping", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_paths_are_decoded_and_queries_are_none_of_them(tmp_path: Path) -> None:
    async with serving(HEAD + ECHO + RUN, tmp_path) as agent:
        assert (await agent.get("/pi%6Eg?deep=1")).status == 200
        assert (await agent.get("/ping%3F")).status == 404


async def test_what_is_no_http_is_refused(tmp_path: Path) -> None:
    async with serving(HEAD + ECHO + RUN, tmp_path) as agent, await connected(agent) as stream:
        await stream.send(b"\x00\x01 nonsense\r\n\r\n")
        assert (await to_end(stream)).startswith(b"HTTP/1.1 400 ")


BAD_HEADER = '@app.entrypoint\nasync def agent(request):\n    return Response("ok", headers={"x-name": request["prompt"]})\n'


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b=c", "a\nb", "a\rb", "a\0b"])
async def test_a_header_cannot_smuggle_another_one(value: str, tmp_path: Path) -> None:
    async with serving(HEAD + BAD_HEADER + RUN, tmp_path) as agent:
        answer = await agent.post({"prompt": value})
        assert (await agent.post({"prompt": "fine"})).headers["x-name"] == "fine"
    assert answer.status == 500
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("length", [1, 3])
async def test_a_body_that_is_not_as_long_as_it_says_is_no_whole_answer(length: int, tmp_path: Path) -> None:
    source = f'@app.entrypoint\nasync def agent(request):\n    return Response("ok", headers={{"content-length": "{length}"}})\n'
    async with serving(HEAD + source + RUN, tmp_path) as agent:
        answer = await agent.post({})
    assert answer.status == 500


BURST = """
@app.entrypoint
async def agent(request):
    for number in range(5000):
        yield {"number": number, "text": "x" * request["size"]}
"""


@pytest.mark.parametrize("size", [1, 5000])
async def test_a_burst_of_chunks_is_whole_and_in_order_also_for_a_slow_reader(size: int, tmp_path: Path) -> None:
    async with serving(HEAD + BURST + RUN, tmp_path) as agent, agent.call({"size": size}) as call:
        await call.read_until(b"\r\n\r\n")
        answer = await call.answer()
    assert [event.data[:20].partition(",")[0] for event in answer.events] == [f'{{"number":{number}' for number in range(5000)]


BLOCKING = """
import os, time
@app.entrypoint
async def agent(request):
    for number in range(4):
        yield f"quick {number}"
    while not os.path.exists("go"):
        time.sleep(0.005)  # on the event loop, as bad agents do
    yield "late"
"""


async def test_what_was_yielded_is_out_also_where_the_agent_blocks_the_loop_next(tmp_path: Path) -> None:
    async with serving(HEAD + BLOCKING.replace('"go"', repr(str(tmp_path / "go"))) + RUN, tmp_path) as agent, agent.call({}) as call:
        assert b"late" not in await call.read_until(b'data: "quick 3"\n\n')
        (tmp_path / "go").touch()
        await call.read_until(b'data: "late"\n\n')
