"""`SandboxSession` around objects that are not this platform's: another SDK's sandbox, or the double in a user's own tests."""

from __future__ import annotations

import asyncio
import inspect
from datetime import datetime, timedelta
from typing import Any

import pytest
from e2b import ConnectionConfig

from ppio_sandbox.agent_runtime.client import (
    AgentRuntimeClient,
    ClientConfig,
    NetworkError,
    SandboxOperationError,
    SandboxSession,
    SessionNotFoundError,
    SessionStatus,
    SyncAgentRuntimeClient,
    SyncSandboxSession,
)
from support.fake_platform import FakePlatform, answers, streams

pytestmark = pytest.mark.anyio


class Double:
    """The least that a sandbox has; `fails` holds the verbs that do."""

    def __init__(self, url: str = "", fails: tuple[str, ...] = ()) -> None:
        self.id = "box-1"
        self.did: list[str] = []
        self._url = url
        self._fails = fails

    def get_host(self, port: int) -> str:
        return self._url or f"{port}-box-1.example.com"

    def do(self, verb: str) -> None:
        if verb in self._fails:
            raise OSError("the disk is full")
        self.did.append(verb)


class AsyncDouble(Double):
    async def pause(self) -> None:
        self.do("pause")

    async def resume(self) -> None:
        self.do("resume")

    async def close(self) -> None:
        self.do("close")


class SyncDouble(Double):
    """As the sandboxes of the public SDKs: other names, a time-out, a state of its own."""

    def __init__(self, url: str = "", fails: tuple[str, ...] = ()) -> None:
        super().__init__(url, fails)
        self.sandbox_id = self.id
        del self.id
        self.traffic_access_token = "admitted"
        self.runs = True

    def pause(self) -> None:
        self.do("pause")

    def connect(self) -> None:
        self.do("connect")

    def kill(self) -> None:
        self.do("kill")

    def set_timeout(self, seconds: int) -> None:
        self.do(f"set_timeout {seconds}")

    def is_running(self) -> bool:
        return self.runs


@pytest.fixture
async def platform():
    async with FakePlatform() as fake:
        yield fake


@pytest.fixture
async def client(platform: FakePlatform):
    async with AgentRuntimeClient("sk-testing", platform.url, config=ClientConfig(sandbox_url=platform.url)) as made:
        yield made


@pytest.mark.promise("client.any-sandbox")
@pytest.mark.parametrize(
    ("double", "verbs"),
    [(AsyncDouble(), ["pause", "resume", "close"]), (SyncDouble(), ["pause", "connect", "set_timeout 300", "kill"])],
    ids=["async", "sync"],
)
async def test_a_life_of_another_sandbox(client: AgentRuntimeClient, double: Double, verbs: list[str]):
    session = SandboxSession("hello", double, client)
    assert (session.sandbox, session.sandbox_id, session.session_id) == (double, "box-1", "box-1")
    assert session.host_url == "https://8080-box-1.example.com"
    assert repr(session) == "SandboxSession(sandbox_id='box-1', template_id='hello', status='active')"
    await session.pause()
    assert (session.is_paused, await session.get_status()) == (True, SessionStatus.PAUSED)
    await session.resume()
    assert (session.is_active, await session.get_status()) == (True, SessionStatus.ACTIVE)
    await session.refresh()
    await session.close()
    await session.close()
    assert (session.status, double.did) == (SessionStatus.CLOSED, verbs)


@pytest.mark.promise("client.any-sandbox")
async def test_an_agent_behind_another_sandbox_is_called_at_its_host(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /invocations", answers({"answer": 1}), streams(b'data: "a"\n\n', b'data: "b"\n\n'))
    platform.on("GET /ping", answers({"status": "Healthy"}))
    session = SandboxSession("hello", SyncDouble(platform.url), client)
    assert session.host_url == platform.url
    assert (await session.invoke("hi")).result == {"answer": 1}
    assert [chunk async for chunk in session.invoke("hi", stream=True)] == ["a", "b"]
    await session.ping()
    assert [asked.headers["x-access-token"] for asked in platform.seen] == ["admitted"] * 3
    assert "sk-testing" not in str([asked.headers for asked in platform.seen])


@pytest.mark.promise("client.any-sandbox", "client.sync")
async def test_a_plain_sandbox_is_a_synchronous_sessions_too(platform: FakePlatform) -> None:
    platform.on("POST /invocations", answers({"answer": 1}), streams(b'data: "a"\n\n', b'data: "b"\n\n'))
    double = SyncDouble(platform.url)

    def work(client: SyncAgentRuntimeClient) -> None:
        session = SyncSandboxSession("hello", double, client)
        assert (session.sandbox, session.sandbox_id, session.host_url) == (double, "box-1", platform.url)
        assert session.invoke("hi").result == {"answer": 1}
        assert list(session.invoke("hi", stream=True)) == ["a", "b"]
        session.pause()
        session.resume()
        session.refresh()
        assert session.get_status() is SessionStatus.ACTIVE
        session.close()
        with pytest.raises(SandboxOperationError, match=r"^Failed to pause sandbox: AsyncDouble.pause is asynchronous: use SandboxSession"):
            SyncSandboxSession("hello", AsyncDouble(), client).pause()

    with SyncAgentRuntimeClient("sk-testing", platform.url) as client:
        await asyncio.to_thread(work, client)
    assert double.did == ["pause", "connect", "set_timeout 300", "kill"]


@pytest.mark.promise("client.any-sandbox")
async def test_a_sandbox_that_was_told_where_ports_are_reached_is_called_there(platform: FakePlatform, client: AgentRuntimeClient) -> None:
    """As `e2b`'s are, on a platform whose domain no name server knows."""
    platform.on("POST /invocations", answers({"answer": 1}))
    double = SyncDouble()
    vars(double)["connection_config"] = ConnectionConfig(api_key="e2b_" + "0" * 40, sandbox_url=platform.url)
    session = SandboxSession("hello", double, client)
    assert session.host_url == "http://8080-box-1.example.com"
    assert (await session.invoke("hi")).result == {"answer": 1}
    (asked,) = platform.seen
    sent = [asked.headers[name] for name in ("ppio-sandbox-id", "ppio-sandbox-port", "x-access-token")]
    assert sent == ["box-1", "8080", "admitted"]


@pytest.mark.promise("client.sync")
@pytest.mark.parametrize(
    ("kind", "twin"),
    [(AgentRuntimeClient, SyncAgentRuntimeClient), (SandboxSession, SyncSandboxSession)],
)
def test_twins_have_the_same_methods_with_the_same_parameters(kind: type, twin: type) -> None:
    def face(one: type) -> dict[str, list[tuple[str, Any, Any]]]:
        members = inspect.getmembers(one, lambda member: inspect.isfunction(member) or isinstance(member, property))
        return {
            name: [(at.name, at.kind, at.default) for at in inspect.signature(member).parameters.values()] if callable(member) else []
            for name, member in members
            if not name.startswith("_") or name == "__init__"
        }

    assert face(kind) == face(twin)


@pytest.mark.promise("client.operation-errors")
@pytest.mark.parametrize("double", [AsyncDouble(fails=("pause", "resume", "close")), SyncDouble(fails=("pause", "connect", "kill"))])
async def test_what_fails_says_which_operation_it_was(client: AgentRuntimeClient, double: Double):
    session = SandboxSession("hello", double, client)
    with pytest.raises(SandboxOperationError, match=r"^Failed to pause sandbox: the disk is full$") as caught:
        await session.pause()
    assert (session.status, caught.value.sandbox_id) == (SessionStatus.ACTIVE, "box-1")
    with pytest.raises(SandboxOperationError, match=r"^Failed to resume sandbox: the disk is full$"):
        await session.resume()
    with pytest.raises(SandboxOperationError, match=r"^Failed to close sandbox: the disk is full$"):
        await session.close()
    assert session.status is SessionStatus.ERROR


@pytest.mark.promise("client.operation-errors")
async def test_a_verb_that_is_not_there_is_named(client: AgentRuntimeClient):
    with pytest.raises(SandboxOperationError, match="Failed to close sandbox: Double has no close and no kill"):
        await SandboxSession("hello", Double(), client).close()


@pytest.mark.promise("client.not-active")
async def test_a_closed_session_is_not_active(platform: FakePlatform, client: AgentRuntimeClient):
    session = SandboxSession("hello", AsyncDouble(platform.url), client)
    await session.close()
    with pytest.raises(SessionNotFoundError, match="Session box-1 is not active"):
        await session.invoke("hi")
    with pytest.raises(SessionNotFoundError, match="is not active"):
        await session.invoke("hi", stream=True)
    assert platform.seen == []


@pytest.mark.promise("client.any-sandbox")
async def test_the_older_spelling(client: AgentRuntimeClient):
    nameless: Any = object()
    session = SandboxSession(session_id="s-1", template_id="hello", sandbox=nameless, client=client)
    assert (session.session_id, session.sandbox_id, session.host_url) == ("s-1", "s-1", "https://session-s-1.ppio.sandbox")
    assert SandboxSession("hello", nameless, client).sandbox_id == f"sandbox-{id(nameless)}"


@pytest.mark.promise("client.status")
async def test_another_sandbox_that_has_ended_is_closed(client: AgentRuntimeClient):
    double = SyncDouble()
    session = SandboxSession("hello", double, client)
    double.runs = False
    assert await session.get_status() is SessionStatus.CLOSED


@pytest.mark.promise("client.any-sandbox")
async def test_ages_are_told_also_where_a_test_sets_a_naive_time(client: AgentRuntimeClient):
    session = SandboxSession("hello", AsyncDouble(), client)
    session.created_at = session.last_activity = datetime.now() - timedelta(seconds=60)  # noqa: DTZ005 (the case itself)
    assert 60 <= session.idle_seconds <= session.age_seconds < 120


@pytest.mark.promise("client.any-sandbox")
async def test_a_host_where_nobody_listens_is_a_network_error(client: AgentRuntimeClient):
    with pytest.raises(NetworkError):
        await SandboxSession("hello", AsyncDouble("http://127.0.0.1:1"), client).invoke("hi")
