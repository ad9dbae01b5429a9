"""What errors, representations and logs tell, and what they must not; what is asked again, and what is not."""

from __future__ import annotations

import dataclasses
import logging
import pickle
from typing import TYPE_CHECKING

import pytest

from ppio_sandbox.agent_runtime.client import (
    AgentClientError,
    AgentRuntimeClient,
    ClientConfig,
    InvocationError,
    InvocationRequest,
    NetworkError,
    RateLimitError,
    SandboxConfig,
    SandboxOperationError,
    SandboxSession,
    SessionStatus,
    SyncAgentRuntimeClient,
)
from sandkit.http.agents import invoke
from sandkit.http.messages import Reply, json_request
from sandkit.wire.sandboxes import CreateSandbox, Sandbox
from support.fake_platform import (
    ENVELOPE,
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
)

if TYPE_CHECKING:
    from support.fake_platform import Answer

pytestmark = pytest.mark.anyio

KEY = "sk-testing"


# --- which request it was


async def cut(_: Asked, line: Line) -> None:
    line.cut()


@pytest.mark.promise("client.request-ids")
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (never, InvocationError),
        (cut, NetworkError),
        (streams(b'data: "a"\n\n', b'event: error\ndata: {"error": "no"}\n\n'), InvocationError),
        (streams(b'data: "a"\n\ndata: "hal'), NetworkError),
        (streams(b'data: "a"\n\n', cut=True), NetworkError),
    ],
)
async def test_each_failure_names_the_request_that_was_sent(
    platform: FakePlatform, session: SandboxSession, answer: Answer, kind: type[AgentClientError]
):
    platform.on("POST /invocations", answer)
    with pytest.raises(kind) as caught:
        [chunk async for chunk in session.stream("hi", timeout=0.2)]
    (asked,) = platform.asked("POST /invocations")
    assert (caught.value.request_id, caught.value.sandbox_id) == (asked.headers["x-request-id"], "i1")
    assert len(asked.headers["x-request-id"]) == 32
    assert asked.headers["x-request-id"] in str(caught.value)


@pytest.mark.promise("client.request-ids")
async def test_where_nobody_listens_the_request_is_named_too() -> None:
    async with AgentRuntimeClient(KEY, "http://127.0.0.1:1") as client:
        with pytest.raises(NetworkError) as caught:
            await client.list_templates()
    assert caught.value.request_id


@pytest.mark.promise("client.request-ids")
@pytest.mark.parametrize(("wished", "is_kept"), [("order-66.retry_2", True), ("no\nheader", False), ("x" * 129, False)])
async def test_the_callers_own_request_id_is_the_requests(platform: FakePlatform, session: SandboxSession, wished: str, is_kept: bool):
    platform.on("POST /invocations", answers(ENVELOPE))
    await session.invoke(InvocationRequest(prompt="hi", request_id=wished))
    (asked,) = platform.asked("POST /invocations")
    assert (asked.headers["x-request-id"] == wished) is is_kept
    assert asked.json["request_id"] == wished


@pytest.mark.promise("client.errors-tell")
async def test_an_error_survives_another_process_and_shows_what_identifies_it(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /sandboxes", refused(404, "template_not_found", "There is no template 'x'"))
    with pytest.raises(AgentClientError) as caught:
        await client.create_session("x")
    shown = "TemplateNotFoundError(\"Template x not found: There is no template 'x'\", error_code='template_not_found', request_id='req-1')"
    assert repr(caught.value) == shown
    again = pickle.loads(pickle.dumps(caught.value))
    assert (repr(again), str(again), again.details) == (shown, str(caught.value), caught.value.details)


# --- what stays secret


@pytest.mark.promise("client.no-secrets")
async def test_no_representation_shows_a_secret(client: AgentRuntimeClient, session: SandboxSession):
    request = client.platform.addressed(json_request("POST", "/sandboxes", {"secret": "sk-of-an-agent"}))
    made = Sandbox.model_validate({"sandboxID": "i1", "templateID": "t1", "envdAccessToken": TOKEN, "trafficAccessToken": TOKEN})
    shown = [
        *(client, client.auth_manager, client.auth_manager.get_auth_headers(), client.template_manager, client.platform, client.config),
        *(session, session.sandbox, request, invoke({"prompt": "sk-of-an-agent"}, stream=False)),
        *(made, CreateSandbox(templateID="t1", env_vars={"KEY": "sk-of-an-agent"}), Reply(200, {"x": TOKEN}, TOKEN.encode())),
        *(SyncAgentRuntimeClient(KEY), SandboxConfig(env_vars={"KEY": "sk-of-an-agent"})),
    ]
    for one in shown:
        for text in (repr(one), str(one), f"{one}"):
            assert not any(secret in text for secret in (KEY, TOKEN, "sk-of-an-agent")), type(one)
    assert dataclasses.asdict(request)["headers"]["authorization"] == f"Bearer {KEY}"  # it is there, and was not shown


@pytest.mark.promise("client.no-secrets")
@pytest.mark.parametrize("answer", [answers({"envdAccessToken": TOKEN, "sandboxID": 7}, 201), refused(500, "internal", "no"), cut])
async def test_no_error_and_no_log_tells_a_secret(
    platform: FakePlatform, client: AgentRuntimeClient, caplog: pytest.LogCaptureFixture, answer: Answer
):
    """Also where an answer holds a token and cannot be read: what could not be read is not quoted."""
    caplog.set_level(logging.DEBUG)
    platform.on("POST /sandboxes", answer)
    with pytest.raises(AgentClientError) as caught:
        await client.create_session("hello")
    told: list[BaseException | None] = [caught.value, caught.value.__cause__, caught.value.__context__]
    texts = [caplog.text, *(f"{error} {error!r} {getattr(error, 'details', '')}" for error in told)]
    assert not any(secret in text for text in texts for secret in (KEY, TOKEN))


# --- what is asked again


@pytest.mark.promise("client.retries")
async def test_a_refused_operation_is_tried_again(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /sandboxes/i1/pause", refused(503, "unavailable", retry_after=0), refused(429, "rate_limited"), answers(status=204))
    await session.pause()
    assert len(platform.asked("POST /sandboxes/i1/pause")) == 3
    assert len({asked.headers["x-request-id"] for asked in platform.seen}) == len(platform.seen)


@pytest.mark.promise("client.retries")
async def test_a_reading_call_whose_answer_was_lost_is_made_again(platform: FakePlatform, session: SandboxSession):
    platform.on("GET /sandboxes/i1", cut, cut, answers(detail(state="paused")))
    assert await session.get_status() is SessionStatus.PAUSED


@pytest.mark.promise("client.retries")
async def test_a_changing_call_whose_answer_was_lost_is_not(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /sandboxes/i1/pause", cut, answers(status=204))
    platform.on("POST /invocations", cut, answers(ENVELOPE))
    for attempt in (session.pause, lambda: session.call("hi")):
        with pytest.raises(NetworkError):
            await attempt()
    assert [asked.path for asked in platform.seen[1:] if asked.method == "POST"] == ["/sandboxes/i1/pause", "/invocations"]


@pytest.mark.promise("client.retries")
@pytest.mark.parametrize("max_retries", [0, 2])
async def test_tries_are_as_many_as_configured_and_end_in_time(platform: FakePlatform, max_retries: int):
    platform.on("POST /sandboxes", created())
    platform.on("POST /sandboxes/i1/pause", refused(429, "rate_limited", retry_after=0))
    platform.on("POST /sandboxes/i1/timeout", refused(429, "rate_limited", retry_after=3600))
    config = ClientConfig(max_retries=max_retries, retry_delay=0)
    async with AgentRuntimeClient(KEY, platform.url, config=config) as client:
        session = await client.create_session("hello")
        with pytest.raises(RateLimitError):
            await session.pause()
        with pytest.raises(RateLimitError):  # rather than waiting beyond the time that a call may take
            await session.refresh()
    assert len(platform.asked("POST /sandboxes/i1/pause")) == max_retries + 1
    assert len(platform.asked("POST /sandboxes/i1/timeout")) == 1


@pytest.mark.promise("client.retries")
async def test_a_failure_of_the_platform_is_not_a_refusal(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /sandboxes/i1/pause", refused(500, "internal"), answers(status=204))
    with pytest.raises(SandboxOperationError):
        await session.pause()
    assert len(platform.asked("POST /sandboxes/i1/pause")) == 1
