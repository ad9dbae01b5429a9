"""Sessions and calls through `AgentRuntimeClient`, against a platform that misbehaves on purpose."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ppio_sandbox.agent_runtime.client import (
    AgentClientError,
    AgentRuntimeClient,
    AuthenticationError,
    ClientConfig,
    InvocationError,
    NetworkError,
    PingStatus,
    RateLimitError,
    Sandbox,
    SandboxConfig,
    SandboxCreationError,
    SandboxOperationError,
    SandboxSession,
    SessionNotFoundError,
    SessionStatus,
    TemplateNotFoundError,
    ValidationError,
)
from support.fake_platform import (
    ENVELOPE,
    TEMPLATE_ID,
    TOKEN,
    Answer,
    Asked,
    FakePlatform,
    Line,
    answers,
    created,
    detail,
    never,
    raw,
    refused,
)

pytestmark = pytest.mark.anyio

# --- creating


@pytest.mark.promise("client.create")
async def test_a_session_is_made_from_a_template(platform: FakePlatform, client: AgentRuntimeClient):
    session = await client.create_session("hello:v2", timeout_seconds=60, config=SandboxConfig(env_vars={"A": "b"}))
    (asked,) = platform.asked("POST /sandboxes")
    assert (asked.json["templateID"], asked.json["timeout"], asked.json["envVars"]) == ("hello:v2", 60, {"A": "b"})
    assert asked.headers["authorization"] == "Bearer sk-testing"
    assert (session.sandbox_id, session.session_id, session.sandbox.id) == ("i1", "i1", "i1")
    assert (session.template_id, session.status, session.is_active, session.is_paused) == (TEMPLATE_ID, SessionStatus.ACTIVE, True, False)
    assert session.host_url.startswith("http://8080-i1.")
    assert TOKEN not in repr(session) + repr(session.sandbox)
    assert 0 <= session.idle_seconds <= session.age_seconds < 60


@pytest.mark.promise("client.create-errors")
@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (refused(404, "template_not_found"), TemplateNotFoundError, "template_not_found"),
        (refused(401, "unauthenticated"), AuthenticationError, "unauthenticated"),
        (refused(409, "template_not_ready"), SandboxCreationError, "template_not_ready"),
        (refused(424, "agent_failed", exit_code=3, output="Traceback"), SandboxCreationError, "agent_failed"),
        (raw(b"oh no", 500, "text/plain"), SandboxCreationError, "internal"),
    ],
)
async def test_a_refused_creation_is_a_typed_error(
    platform: FakePlatform, client: AgentRuntimeClient, answer: Answer, kind: type[AgentClientError], code: str
):
    platform.on("POST /sandboxes", answer)
    with pytest.raises(kind) as caught:
        await client.create_session("hello")
    assert caught.value.error_code == code
    assert ("Template hello not found" in str(caught.value)) is (kind is TemplateNotFoundError)
    assert len(platform.seen) == 1


@pytest.mark.promise("client.errors-tell")
async def test_an_error_carries_the_request_the_exit_code_and_the_last_lines(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /sandboxes", refused(424, "agent_failed", "the agent exited", exit_code=3, output="Traceback"))
    with pytest.raises(SandboxCreationError) as caught:
        await client.create_session("hello")
    error = caught.value
    assert (error.message, error.request_id, error.exit_code, error.output) == ("the agent exited", "req-1", 3, "Traceback")
    assert str(error) == "the agent exited (request req-1)"


@pytest.mark.promise("client.create-retries")
async def test_a_creation_refused_for_too_much_is_tried_again(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /sandboxes", refused(429, "rate_limited", retry_after=0.01), refused(503, "unavailable", retry_after=0), created())
    await client.create_session("hello")
    assert len(platform.asked("POST /sandboxes")) == 3


@pytest.mark.promise("client.create-retries")
async def test_tries_end_and_the_error_says_when_to_come_back(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /sandboxes", refused(429, "rate_limited", retry_after=0.01))
    with pytest.raises(RateLimitError) as caught:
        await client.create_session("hello")
    assert (caught.value.retry_after, len(platform.seen)) == (0.01, 4)
    platform.on("POST /sandboxes", refused(429, "rate_limited", retry_after=3600))
    with pytest.raises(RateLimitError):  # rather than waiting beyond the time-out of creation
        await client.create_session("hello")


@pytest.mark.promise("client.create-retries")
async def test_what_may_have_happened_is_not_tried_again(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /sandboxes", refused(503, "unavailable"))
    with pytest.raises(SandboxCreationError):
        await client.create_session("hello")

    async def cut(_: Asked, line: Line):
        line.cut()

    platform.on("POST /sandboxes", cut)
    with pytest.raises(NetworkError):
        await client.create_session("hello")
    assert len(platform.seen) == 2


@pytest.mark.promise("client.create-deadline")
async def test_creation_has_a_deadline(platform: FakePlatform):
    platform.on("POST /sandboxes", never)
    config = ClientConfig(sandbox_url=platform.url, create_timeout=0.05)
    async with AgentRuntimeClient("sk-testing", platform.url, config=config) as client:
        with pytest.raises(SandboxCreationError) as caught:
            await client.create_session("hello")
    assert caught.value.error_code == "timeout"
    await platform.until(lambda: platform.left == 1)


@pytest.mark.promise("client.create-errors")
async def test_what_cannot_be_honoured_is_refused_and_not_ignored(client: AgentRuntimeClient):
    for volume in ({"a": "b"}, {"name": "data", "path": "relative"}, {"name": "", "path": "/data"}):
        with pytest.raises(ValidationError, match="one of volumes is not"):
            await client.create_session("hello", config=SandboxConfig(volumes=[volume]))
    for limits in ({"memory_limit": "much"}, {"memory_limit": "1Mi"}, {"cpu_limit": "0"}, {"cpu_limit": "9999"}):
        with pytest.raises(ValidationError, match="a session has no limits such as"):
            await client.create_session("hello", config=SandboxConfig.model_validate(limits))
    for life in (0, 86401, cast("Any", "long")):
        with pytest.raises(ValidationError, match="lives from 1"):
            await client.create_session("hello", timeout_seconds=life)
    for template_id in ("", "t" * 257, cast("Any", None)):
        with pytest.raises(ValidationError, match="a template is named by"):
            await client.create_session(template_id)


@pytest.mark.promise("client.volumes")
async def test_a_session_mounts_volumes(platform: FakePlatform, client: AgentRuntimeClient):
    await client.create_session("hello", config=SandboxConfig(volumes=[{"name": "data", "path": "/data"}]))
    assert platform.seen[-1].json["volumeMounts"] == [{"name": "data", "path": "/data"}]


@pytest.mark.promise("client.limits")
async def test_a_session_has_limits_of_its_own(platform: FakePlatform, client: AgentRuntimeClient):
    await client.create_session("hello", config=SandboxConfig(memory_limit="512Mi", cpu_limit="500m"))
    assert (platform.seen[-1].json["memoryMB"], platform.seen[-1].json["cpuCount"]) == (512, 0.5)
    await client.create_session("hello", config=SandboxConfig(memory_limit="20000001"))
    assert (platform.seen[-1].json["memoryMB"], "cpuCount" in platform.seen[-1].json) == (20, False)


@pytest.mark.promise("client.network-errors")
async def test_no_platform_is_a_network_error():
    async with AgentRuntimeClient("sk-testing", "http://127.0.0.1:1") as client:
        with pytest.raises(NetworkError, match=r"cannot connect to http://127\.0\.0\.1:1"):
            await client.create_session("hello")


# --- finding and ending


@pytest.mark.promise("client.find")
async def test_a_session_is_found_again_by_id(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("GET /sandboxes/i7", answers(detail("i7", "paused", life=1800)))
    session = await client.get_session("i7")
    assert session is not None
    assert (session.status, session.timeout_seconds) == (SessionStatus.PAUSED, 1800)
    same = await client.get_session(session_id="i7")
    assert same is not None
    assert same.sandbox_id == "i7"
    platform.on("GET /sandboxes/i8", refused(404, "sandbox_not_found"))
    assert await client.get_session("i8") is None
    with pytest.raises(ValidationError):
        await client.get_session()


@pytest.mark.promise("client.find", "client.status")
async def test_what_is_found_is_as_the_platform_says_now(platform: FakePlatform, client: AgentRuntimeClient, session: SandboxSession):
    """Another process may have paused a session that this one has made."""
    platform.on("GET /sandboxes/i1", answers(detail(state="paused")))
    platform.on("GET /v2/sandboxes", answers([detail(state="running", token=None)]))
    assert await client.get_session("i1") is session
    assert session.is_paused
    assert await client.list_sessions() == [session]
    assert session.is_active


@pytest.mark.promise("client.status")
async def test_a_session_that_has_ended_is_not_closed_again(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /sandboxes", created("i1"), created("i2"), created("i3"))
    sessions = [await client.create_session("hello") for _ in range(3)]
    platform.on("POST /sandboxes/i1/timeout", refused(404, "sandbox_not_found", state="stopped"))
    with pytest.raises(SessionNotFoundError):
        await sessions[0].refresh()
    platform.on("GET /sandboxes/i2", refused(404, "sandbox_not_found", state="failed", exit_code=1))
    await sessions[1].get_status()
    platform.on("POST /invocations", refused(502, "sandbox_gone"))
    with pytest.raises(SessionNotFoundError):
        await sessions[2].invoke("hi")
    assert [session.status for session in sessions] == [SessionStatus.CLOSED, SessionStatus.ERROR, SessionStatus.CLOSED]
    await client.close_all_sessions()
    assert [asked.method for asked in platform.seen].count("DELETE") == 0


@pytest.mark.promise("client.close")
async def test_leaving_a_session_closes_it(platform: FakePlatform, client: AgentRuntimeClient):
    async with await client.create_session("hello") as session:
        assert session.is_active
    assert session.status is SessionStatus.CLOSED
    assert len(platform.asked("DELETE /sandboxes/i1")) == 1


@pytest.mark.promise("client.find")
async def test_sessions_are_listed_page_by_page_and_can_be_called(platform: FakePlatform, client: AgentRuntimeClient):
    pages = [
        answers([detail("i7", token=None)], x_next_token="two"),
        answers([detail("i8", "paused", token=None)]),
    ]
    platform.on("GET /v2/sandboxes", *pages)
    found = await client.list_sessions()
    assert [(session.sandbox_id, session.is_paused) for session in found] == [("i7", False), ("i8", True)]
    assert platform.seen[-1].query == {"nextToken": ["two"]}
    platform.on("GET /sandboxes/i7", answers(detail("i7")))
    platform.on("POST /invocations", answers(ENVELOPE))
    await found[0].invoke("hi")
    assert platform.seen[-1].headers["x-access-token"] == TOKEN


@pytest.mark.promise("client.close")
async def test_closing_twice_is_no_error_and_closing_what_never_was_is(
    platform: FakePlatform, client: AgentRuntimeClient, session: SandboxSession
):
    platform.on("DELETE /sandboxes/i1", answers(status=204), refused(404, "sandbox_not_found"))
    await session.close()
    await session.close()
    assert session.status is SessionStatus.CLOSED
    with pytest.raises(SessionNotFoundError):
        await client.close_session("i1")


@pytest.mark.promise("client.operation-errors")
async def test_a_session_that_could_not_be_closed_can_be_closed_again(platform: FakePlatform, session: SandboxSession):
    platform.on("DELETE /sandboxes/i1", refused(500, "internal", "the keeper is gone"), answers(status=204))
    with pytest.raises(SandboxOperationError, match=r"^Failed to close sandbox: the keeper is gone"):
        await session.close()
    assert session.status is SessionStatus.ERROR
    await session.close()
    assert session.status is SessionStatus.CLOSED


@pytest.mark.promise("client.close")
async def test_all_sessions_means_those_of_this_client(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /sandboxes", created("i1"), created("i2"))
    platform.on("DELETE /sandboxes/i2", answers(status=204))
    sessions = [await client.create_session("hello") for _ in range(2)]
    await client.close_all_sessions()
    assert {asked.path for asked in platform.seen if asked.method == "DELETE"} == {"/sandboxes/i1", "/sandboxes/i2"}
    assert [session.status for session in sessions] == [SessionStatus.CLOSED] * 2
    await client.close_all_sessions()
    assert len([asked for asked in platform.seen if asked.method == "DELETE"]) == 2


@pytest.mark.promise("client.close")
async def test_leaving_the_client_leaves_sessions_alive(platform: FakePlatform):
    async with AgentRuntimeClient("sk-testing", platform.url) as client:
        await client.create_session("hello")
    assert platform.asked("DELETE /sandboxes/i1") == []


@pytest.mark.promise("client.closed")
async def test_a_closed_client_says_so(platform: FakePlatform):
    client = AgentRuntimeClient("sk-testing", platform.url)
    session = await client.create_session("hello")
    seen = len(platform.seen)
    await client.close()
    await client.close()
    for use in (client.create_session("hello"), client.list_templates(), client.get_session("i1"), session.invoke("hi"), session.close()):
        with pytest.raises(AgentClientError, match="this client is closed"):
            await use
    with pytest.raises(AgentClientError, match="this client is closed"):
        await client.__aenter__()
    assert len(platform.seen) == seen


@pytest.mark.promise("client.faces")
def test_a_client_shows_its_parts():
    config = ClientConfig(timeout=7)
    client = AgentRuntimeClient("sk-testing", "http://127.0.0.1:8800/", config=config)
    assert (client.config, client.timeout, client.base_url) == (config, 7, "http://127.0.0.1:8800")
    assert client.auth_manager.api_key == "sk-testing"
    assert client.template_manager.auth_manager is client.auth_manager


# --- life


@pytest.mark.promise("client.pause-resume")
async def test_pause_resume_and_refresh(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /sandboxes/i1/pause", answers(status=204))
    platform.on("POST /sandboxes/i1/connect", created())
    platform.on("POST /sandboxes/i1/timeout", answers(status=204))
    await session.pause()
    assert session.is_paused
    await session.resume()
    assert session.is_active
    await session.refresh()
    assert [asked.json for asked in platform.seen[1:]] == [{}, {"timeout": 300}, {"timeout": 300}]


@pytest.mark.promise("client.pause-resume", "client.operation-errors")
async def test_pausing_twice_is_once_and_other_conflicts_are_errors(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /sandboxes/i1/pause", refused(409, "conflict"))
    platform.on("GET /sandboxes/i1", answers(detail(state="paused")), answers(detail()))
    await session.pause()
    assert session.is_paused
    with pytest.raises(SandboxOperationError):
        await session.pause()
    platform.on("POST /sandboxes/i1/pause", refused(500, "internal", "the keeper is gone"))
    with pytest.raises(SandboxOperationError, match=r"^Failed to pause sandbox: the keeper is gone"):
        await session.pause()
    platform.on("POST /sandboxes/i1/connect", refused(404, "sandbox_not_found"))
    with pytest.raises(SessionNotFoundError):
        await session.resume()


@pytest.mark.promise("client.status")
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (answers(detail()), SessionStatus.ACTIVE),
        (answers(detail(state="paused")), SessionStatus.PAUSED),
        (refused(404, "sandbox_not_found", state="stopped", reason="its time was up"), SessionStatus.CLOSED),
        (refused(404, "sandbox_not_found", state="failed", reason="the agent exited", exit_code=1), SessionStatus.ERROR),
        (refused(404, "sandbox_not_found"), SessionStatus.CLOSED),
    ],
)
async def test_the_status_is_the_platforms_truth(platform: FakePlatform, session: SandboxSession, answer: Answer, status: SessionStatus):
    platform.on("GET /sandboxes/i1", answer)
    assert await session.get_status() is status
    assert session.status is status


@pytest.mark.promise("client.ping")
async def test_ping(platform: FakePlatform, session: SandboxSession):
    platform.on("GET /ping", answers({"status": "healthy", "dependencies": {"db": "ok"}}), answers({"status": "unhealthy"}, 503))
    answer = await session.ping()
    assert (answer.status, answer.model_extra) == (PingStatus.HEALTHY, {"dependencies": {"db": "ok"}})
    with pytest.raises(InvocationError):
        await session.ping()


@pytest.mark.promise("client.errors-tell")
async def test_an_answer_that_cannot_be_read_is_a_typed_error(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("GET /templates", raw(b"{not json"))
    with pytest.raises(AgentClientError) as caught:
        await client.list_templates()
    assert caught.value.error_code == "unreadable_reply"
    platform.on("GET /templates", answers([{"templateID": 1}]))
    with pytest.raises(AgentClientError, match="another shape than expected"):
        await client.list_templates()


@pytest.mark.promise("client.find")
async def test_a_session_can_be_made_by_hand(client: AgentRuntimeClient):
    session = SandboxSession("hello", Sandbox("i1", client.platform.addresses), client)
    assert (session.sandbox_id, session.template_id) == ("i1", "hello")
