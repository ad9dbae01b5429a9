"""The synchronous twin, driven from a thread as a script drives it, against a platform that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ppio_sandbox.agent_runtime.client import (
    AgentClientError,
    AuthenticationError,
    ClientConfig,
    InvocationError,
    NetworkError,
    RateLimitError,
    SandboxCreationError,
    SandboxOperationError,
    SessionNotFoundError,
    SessionStatus,
    SyncAgentRuntimeClient,
    SyncSandboxSession,
    TemplateNotFoundError,
)
from support.fake_platform import (
    TEMPLATE_ID,
    TOKEN,
    Asked,
    FakePlatform,
    Line,
    answers,
    created,
    detail,
    never,
    refused,
    streams,
    template,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.anyio, pytest.mark.promise("client.sync")]

T = TypeVar("T")
ENVELOPE = {"result": "hello", "status": "success", "duration": 0.5}


@pytest.fixture
async def platform():
    async with FakePlatform() as fake:
        fake.on("POST /sandboxes", created())
        fake.on("GET /sandboxes/i1", answers(detail()))
        fake.on("DELETE /sandboxes/i1", answers(status=204))
        yield fake


@pytest.fixture
def client(platform: FakePlatform):
    config = ClientConfig(sandbox_url=platform.url, retry_delay=0.01)
    with SyncAgentRuntimeClient("sk-testing", platform.url, config=config) as made:
        yield made


@pytest.fixture
async def session(client: SyncAgentRuntimeClient):
    return await script(client.create_session, "hello")


async def script(work: Callable[..., T], *arguments: Any) -> T:
    """Run what a script does, while the platform answers on this loop."""
    async with asyncio.timeout(20):
        return await asyncio.to_thread(work, *arguments)


async def test_a_session_from_its_start_to_its_end(platform: FakePlatform, client: SyncAgentRuntimeClient):
    platform.on("POST /invocations", answers(ENVELOPE))
    platform.on("GET /ping", answers({"status": "Healthy"}))
    platform.on("POST /sandboxes/i1/pause", answers(status=204))
    platform.on("POST /sandboxes/i1/connect", created())
    platform.on("POST /sandboxes/i1/timeout", answers(status=204))

    def work() -> SyncSandboxSession:
        session = client.create_session("hello", timeout_seconds=60)
        assert (session.invoke("hi")["result"], session.template_id, session.is_active) == ("hello", TEMPLATE_ID, True)
        session.pause()
        assert session.is_paused
        session.resume()
        session.refresh()
        assert session.ping().status == "Healthy"
        assert session.get_status() is SessionStatus.ACTIVE
        session.close()
        session.close()
        return session

    session = await script(work)
    assert (session.status, session.session_id, repr(session).count("closed")) == (SessionStatus.CLOSED, "i1", 1)
    (call,) = platform.asked("POST /invocations")
    assert (call.json, call.headers["x-access-token"]) == ({"prompt": "hi", "query": "hi"}, TOKEN)
    assert "sk-testing" not in str(call.headers)
    with pytest.raises(SessionNotFoundError, match="is not active"):
        await script(session.invoke, "hi")


async def test_chunks_come_before_the_next_exists_and_leaving_cancels(platform: FakePlatform, session: SyncSandboxSession):
    given = asyncio.Event()

    async def answer(_: Asked, line: Line) -> None:
        await line.begin()
        await line.part(b'data: "one"\n\n')
        await given.wait()
        await line.part(b'data: "tw')
        await line.part(b'o"\n\n')
        await line.left.wait()

    platform.on("POST /invocations", answer)
    loop = asyncio.get_running_loop()

    def work() -> list[str]:
        found: list[str] = []
        for chunk in session.invoke("hi", stream=True):
            found.append(chunk)
            loop.call_soon_threadsafe(given.set)
            if len(found) == 2:
                break
        return found

    assert await script(work) == ["one", "two"]
    await platform.until(lambda: platform.left == 1)


async def test_leaving_a_loop_cancels_also_where_the_stream_has_a_name(platform: FakePlatform, session: SyncSandboxSession):
    async def answer(_: Asked, line: Line) -> None:
        await line.begin()
        await line.part(b'data: "one"\n\n')
        await line.left.wait()

    platform.on("POST /invocations", answer)
    stream = session.invoke("hi", stream=True)

    def work() -> None:
        for _ in stream:
            break

    await script(work)
    await platform.until(lambda: platform.left == 1)
    assert await script(lambda: list(stream)) == []


async def test_a_stream_that_is_cut_or_fails_is_an_error(platform: FakePlatform, session: SyncSandboxSession):
    failed = b'event: error\ndata: {"error": "no more ideas"}\n\n'
    platform.on("POST /invocations", streams(b'data: "a"\n\n', cut=True), streams(b'data: "a"\n\n', failed), answers({"n": 1}))
    with pytest.raises(NetworkError):
        await script(lambda: list(session.stream("hi")))
    with pytest.raises(InvocationError, match="no more ideas"):
        await script(lambda: list(session.stream("hi")))
    assert await script(lambda: list(session.stream("hi"))) == ['{"n":1}']


async def test_a_cut_says_how_the_sandbox_ended(platform: FakePlatform, session: SyncSandboxSession):
    platform.on("POST /invocations", streams(b'data: "a"\n\n', cut=True))
    platform.on("GET /ping", refused(502, "agent_crashed", "the agent exited", state="failed", exit_code=3, output="last words"))
    with pytest.raises(NetworkError, match="the agent exited") as caught:
        await script(lambda: list(session.stream("hi")))
    assert (caught.value.exit_code, caught.value.output, session.status) == (3, "last words", SessionStatus.ERROR)


@pytest.mark.parametrize("begins", [False, True])
async def test_a_call_has_a_deadline_in_all(platform: FakePlatform, session: SyncSandboxSession, begins: bool):
    async def answer(asked: Asked, line: Line) -> None:
        if begins:
            await line.begin("application/json")
            while not line.left.is_set():
                await line.part(b" ")
                await asyncio.sleep(0.02)  # the pace of an answer that never ends: quicker than the time-out
        await never(asked, line)

    platform.on("POST /invocations", answer)
    began = time.monotonic()
    with pytest.raises(InvocationError) as caught:
        await script(session.call, "hi", 0.2)
    assert (caught.value.error_code, time.monotonic() - began < 5) == ("timeout", True)
    await platform.until(lambda: platform.left == 1)


async def test_one_call_makes_a_session_and_closes_it_whatever_happens(platform: FakePlatform, client: SyncAgentRuntimeClient):
    platform.on("POST /invocations", answers(ENVELOPE), answers({"error": "no"}, 500), streams(b'data: "a"\n\n', b'data: "b"\n\n'))
    assert (await script(client.invoke_agent, "hello", "hi")).result == "hello"
    with pytest.raises(InvocationError):
        await script(client.invoke_agent, "hello", "hi")
    assert await script(lambda: next(client.invoke_agent_stream("hello", "hi"))) == "a"
    await platform.until(lambda: len(platform.asked("DELETE /sandboxes/i1")) == 3)
    with pytest.raises(ValueError, match=r"^Either sandbox_id or create_session=True must be provided$"):
        await script(client.invoke_agent, "hello", "hi", False)


async def test_sessions_are_found_listed_and_closed(platform: FakePlatform, client: SyncAgentRuntimeClient):
    pages = [answers([detail("i7", token=None)], x_next_token="two"), answers([detail("i8", "paused", token=None)])]
    platform.on("GET /sandboxes/i9", refused(404, "sandbox_not_found"))
    platform.on("GET /v2/sandboxes", *pages)
    platform.on("GET /sandboxes/i7", answers(detail("i7")))
    platform.on("POST /invocations", answers(ENVELOPE))
    found = await script(client.list_sessions)
    assert [(one.sandbox_id, one.is_paused) for one in found] == [("i7", False), ("i8", True)]
    assert (await script(client.invoke_agent, "hello", "hi", True, "i7")).result == "hello"
    assert await script(client.get_session, "i9") is None
    await script(client.create_session, "hello")
    await script(client.close_all_sessions)
    platform.on("DELETE /sandboxes/i1", refused(404, "sandbox_not_found"))
    with pytest.raises(SessionNotFoundError):
        await script(client.close_session, "i1")
    assert {asked.path for asked in platform.seen if asked.method == "DELETE"} == {"/sandboxes/i1"}


async def test_refusals_are_tried_again_and_typed(platform: FakePlatform, client: SyncAgentRuntimeClient):
    platform.on("POST /sandboxes", refused(429, "rate_limited", retry_after=0.01), created())
    await script(client.create_session, "hello")
    platform.on("POST /sandboxes", refused(429, "rate_limited", retry_after=3600))
    with pytest.raises(RateLimitError):
        await script(client.create_session, "hello")
    for answer, kind in (
        (refused(404, "template_not_found"), TemplateNotFoundError),
        (refused(401, "unauthenticated"), AuthenticationError),
        (refused(424, "agent_failed"), SandboxCreationError),
    ):
        platform.on("POST /sandboxes", answer)
        with pytest.raises(kind):
            await script(client.create_session, "hello")


async def test_operations_that_fail_say_which(platform: FakePlatform, session: SyncSandboxSession):
    platform.on("POST /sandboxes/i1/pause", refused(500, "internal", "no keeper"), refused(409, "conflict"))
    with pytest.raises(SandboxOperationError, match=r"^Failed to pause sandbox: no keeper"):
        await script(session.pause)
    platform.on("GET /sandboxes/i1", answers(detail(state="paused")))
    await script(session.pause)
    platform.on("DELETE /sandboxes/i1", refused(500, "internal", "no keeper"))
    with pytest.raises(SandboxOperationError, match=r"^Failed to close sandbox: no keeper"):
        await script(session.close)
    assert session.status is SessionStatus.ERROR


async def test_templates(platform: FakePlatform, client: SyncAgentRuntimeClient):
    platform.on("GET /templates", answers([template("hello"), template("other")]))
    platform.on("GET /templates/hello", answers(template("hello")))
    platform.on("GET /templates/none", refused(404, "template_not_found"))
    assert [one.name for one in await script(client.list_templates, None, "oth")] == ["other"]
    assert (await script(client.get_template, "hello")).name == "hello"
    assert not await script(client.template_manager.template_exists, "none")


async def test_many_threads_share_one_client(platform: FakePlatform, session: SyncSandboxSession):
    platform.on("POST /invocations", answers(ENVELOPE))
    results = await asyncio.gather(*[script(session.call, f"{n}") for n in range(50)])
    assert [response.result for response in results] == ["hello"] * 50


async def test_no_platform_and_a_closed_client_say_so(client: SyncAgentRuntimeClient):
    nowhere = SyncAgentRuntimeClient("sk-testing", "http://127.0.0.1:1")
    with pytest.raises(NetworkError, match=r"cannot connect to http://127\.0\.0\.1:1/templates: connection refused"):
        nowhere.list_templates()
    nowhere.close()
    with pytest.raises(AgentClientError, match="this client is closed"):
        nowhere.list_templates()
    with pytest.raises(AgentClientError, match="this client is closed"):
        nowhere.__enter__()
    assert client.base_url.startswith("http://127.0.0.1")
