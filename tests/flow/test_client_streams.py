"""Streams through `AgentRuntimeClient`, against a platform that misbehaves on purpose."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ppio_sandbox.agent_runtime.client import (
    AgentRuntimeClient,
    ChunkStream,
    ClientConfig,
    InvocationError,
    InvocationRequest,
    NetworkError,
    SandboxSession,
    SessionNotFoundError,
    SessionStatus,
    TemplateNotFoundError,
)
from support.fake_platform import Asked, FakePlatform, Line, answers, created, refused, streams

pytestmark = pytest.mark.anyio

THREE = (b'data: "one "\n\n', b'data: {"n": 2}\n\n: keep-alive\n\n', b'data: "\xe4\xb8\x89"\n\n')


@pytest.fixture
async def platform():
    async with FakePlatform() as fake:
        fake.on("POST /sandboxes", created())
        fake.on("DELETE /sandboxes/i1", answers(status=204))
        yield fake


@pytest.fixture
async def client(platform: FakePlatform):
    async with AgentRuntimeClient("sk-testing", platform.url, config=ClientConfig(sandbox_url=platform.url, timeout=5)) as made:
        yield made


@pytest.fixture
async def session(client: AgentRuntimeClient) -> SandboxSession:
    return await client.create_session("hello")


async def read_into(got: list[str], session: SandboxSession) -> None:
    async for chunk in session.invoke("hi", stream=True):
        got.append(chunk)  # noqa: PERF401 (what came before a failure is kept)


async def endless(_: Asked, line: Line) -> None:
    """Stream until the client leaves."""
    await line.begin()
    await line.part(b'data: "first"\n\n')
    await line.left.wait()


@pytest.mark.promise("client.stream-forms")
async def test_awaited_or_not_the_stream_is_iterated(platform: FakePlatform, client: AgentRuntimeClient, session: SandboxSession):
    platform.on("POST /invocations", streams(*THREE))
    awaited = await session.invoke("hi", stream=True)
    assert isinstance(awaited, ChunkStream)
    assert [chunk async for chunk in awaited] == ["one ", '{"n": 2}', "三"]
    assert [chunk async for chunk in session.invoke("hi", stream=True)] == ["one ", '{"n": 2}', "三"]
    assert [chunk async for chunk in await client.invoke_agent_stream("hello", "hi")] == ["one ", '{"n": 2}', "三"]
    assert [chunk async for chunk in client.invoke_agent_stream("hello", "hi")] == ["one ", '{"n": 2}', "三"]


@pytest.mark.promise("client.stream-forms")
async def test_the_agent_is_asked_to_stream(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", streams(*THREE))
    await session.invoke(InvocationRequest(prompt="hi"), stream=True)
    (asked,) = platform.asked("POST /invocations")
    assert asked.json == {"prompt": "hi", "query": "hi", "stream": True}
    assert asked.headers["accept"].startswith("text/event-stream")


@pytest.mark.promise("client.chunk-at-once")
async def test_a_chunk_is_with_the_caller_before_the_next_one_exists(platform: FakePlatform, session: SandboxSession):
    had = asyncio.Event()

    async def paced(_: Asked, line: Line):
        await line.begin()
        await line.part(b'data: "1"\n\n')
        await had.wait()
        await line.part(b'data: "2"\n\n')
        await line.end()

    platform.on("POST /invocations", paced)
    async with asyncio.timeout(5), session.invoke("hi", stream=True) as stream:
        assert await anext(stream) == "1"
        had.set()
        assert await anext(stream) == "2"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


@pytest.mark.promise("client.chunk-at-once")
async def test_events_cut_anywhere_arrive_whole(platform: FakePlatform, session: SandboxSession):
    whole = 'data: "日本"\r\n\r\ndata: "x"\n\n'.encode()
    platform.on("POST /invocations", streams(*[whole[i : i + 1] for i in range(len(whole))]))
    assert [chunk async for chunk in session.invoke("hi", stream=True)] == ["日本", "x"]
    platform.on("POST /invocations", streams(b'data: "mixed"\n\r\n', b": the last heartbeat\n"))
    assert [chunk async for chunk in session.invoke("hi", stream=True)] == ["mixed"]


@pytest.mark.promise("client.leaving-cancels")
async def test_break_closes_the_connection(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", endless)
    stream = await session.invoke("hi", stream=True)
    async for chunk in stream:
        assert chunk == "first"
        break
    await platform.until(lambda: platform.left == 1)
    assert stream is not None  # held until here: it was the break that closed


@pytest.mark.promise("client.leaving-cancels")
async def test_break_ends_the_session_that_was_made_for_the_stream(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /invocations", endless)
    async for _ in client.invoke_agent_stream("hello", "hi"):
        break
    await platform.until(lambda: platform.asked("DELETE /sandboxes/i1"))
    assert platform.left == 1


@pytest.mark.promise("client.leaving-cancels")
async def test_a_cancelled_reader_closes_the_connection(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", endless)
    got: list[str] = []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read_into(got, session), 0.1)
    await platform.until(lambda: platform.left == 1)


@pytest.mark.promise("client.cut-is-an-error")
@pytest.mark.parametrize("parts", [(b'data: "a"\n\n',), (b'data: "a"\n\ndata: "hal',)])
async def test_a_stream_that_is_cut_short_is_a_network_error(platform: FakePlatform, session: SandboxSession, parts: tuple[bytes, ...]):
    platform.on("POST /invocations", streams(*parts, cut=True))
    got: list[str] = []
    with pytest.raises(NetworkError) as caught:
        await read_into(got, session)
    assert got in (["a"], [])  # the abort may overtake what was sent
    assert caught.value.sandbox_id == "i1"


@pytest.mark.promise("client.cut-says-why")
async def test_a_stream_that_its_agents_death_cut_short_says_how_it_died(platform: FakePlatform, session: SandboxSession) -> None:
    platform.on("POST /invocations", streams(b'data: "a"\n\n', cut=True))
    told: dict[str, Any] = {"state": "failed", "exit_code": 3, "output": "last words"}
    platform.on("GET /ping", refused(502, "sandbox_gone", "The sandbox was not found: the agent exited with code 3", **told))
    with pytest.raises(NetworkError, match="was cut off: the agent exited with code 3") as caught:
        await read_into([], session)
    assert (caught.value.exit_code, caught.value.output, session.status) == (3, "last words", SessionStatus.ERROR)


@pytest.mark.promise("client.cut-is-an-error")
async def test_a_stream_that_ends_within_an_event_is_a_network_error(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", streams(b'data: "a"\n\ndata: "hal'))
    stream = session.invoke("hi", stream=True)
    assert await anext(stream) == "a"
    with pytest.raises(NetworkError, match="in the middle of an event"):
        await anext(stream)
    with pytest.raises(NetworkError, match="in the middle of an event"):  # also where nobody asked for a stream
        await session.invoke("hi")


@pytest.mark.promise("client.agent-errors")
async def test_an_agent_that_fails_in_the_middle_says_why(platform: FakePlatform, session: SandboxSession):
    told = b'event: error\ndata: {"error": "no more tokens", "error_type": "ValueError"}\n\n'
    platform.on("POST /invocations", streams(b'data: "a"\n\n', told))
    stream = session.invoke("hi", stream=True)
    assert await anext(stream) == "a"
    with pytest.raises(InvocationError, match="ValueError: no more tokens") as caught:
        await anext(stream)
    assert caught.value.details["error_type"] == "ValueError"


@pytest.mark.promise("client.agent-errors")
async def test_what_fails_before_the_first_chunk_is_raised_by_await(
    platform: FakePlatform, client: AgentRuntimeClient, session: SandboxSession
):
    platform.on("POST /invocations", refused(502, "sandbox_gone", "The sandbox was not found"))
    with pytest.raises(SessionNotFoundError):
        await session.invoke("hi", stream=True)
    platform.on("POST /sandboxes", refused(404, "template_not_found"))
    with pytest.raises(TemplateNotFoundError):
        await client.invoke_agent_stream("none", "hi")


@pytest.mark.promise("client.result")
async def test_an_answer_that_is_no_stream_is_one_chunk(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", answers({"result": {"a": 1}, "status": "success", "duration": 0.1}))
    assert [chunk async for chunk in session.invoke("hi", stream=True)] == ['{"a":1}']


@pytest.mark.promise("client.deadlines")
async def test_silence_is_bounded(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", endless)
    stream = session.stream("hi", timeout=0.05)
    assert await anext(stream) == "first"
    with pytest.raises(InvocationError) as caught:
        await anext(stream)
    assert caught.value.error_code == "timeout"


@pytest.mark.promise("client.stream-forms")
async def test_a_stream_that_nobody_begins_sends_nothing(platform: FakePlatform, session: SandboxSession):
    stream = session.invoke("hi", stream=True)
    await stream.aclose()
    assert platform.asked("POST /invocations") == []
