"""Calls through `AgentRuntimeClient`, against a platform that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

import pytest

from ppio_sandbox.agent_runtime.client import (
    AgentRuntimeClient,
    InvocationError,
    InvocationRequest,
    RateLimitError,
    SandboxSession,
    SessionNotFoundError,
    SessionStatus,
    ValidationError,
)
from support.fake_platform import (
    ENVELOPE,
    TOKEN,
    Answer,
    FakePlatform,
    answers,
    detail,
    never,
    raw,
    refused,
    streams,
)

pytestmark = pytest.mark.anyio


@pytest.mark.promise("client.invoke")
async def test_a_call_reaches_the_agents_port_with_the_sandboxes_token_only(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", answers(ENVELOPE))
    response = await session.invoke("hi")
    assert (response.result, response["result"], response.status, response.duration) == ("hello", "hello", "success", 0.5)
    (asked,) = platform.asked("POST /invocations")
    assert (asked.headers["ppio-sandbox-id"], asked.headers["ppio-sandbox-port"], asked.headers["x-access-token"]) == ("i1", "8080", TOKEN)
    assert "sk-testing" not in str(asked.headers)


@pytest.mark.promise("client.request-forms")
@pytest.mark.parametrize(
    ("request_", "body"),
    [
        ("hi", {"prompt": "hi", "query": "hi"}),
        ({"prompt": "hi", "n": 1}, {"prompt": "hi", "query": "hi", "n": 1}),
        ({"query": "hi"}, {"query": "hi", "prompt": "hi"}),
        ({"a": [1, None]}, {"a": [1, None]}),
        (InvocationRequest(prompt="hi", data={"a": 1}), {"prompt": "hi", "query": "hi", "data": {"a": 1}}),
        (InvocationRequest(prompt="hi", stream=False), {"prompt": "hi", "query": "hi", "stream": False}),
    ],
)
async def test_forms_of_a_request(platform: FakePlatform, session: SandboxSession, request_: Any, body: object):
    platform.on("POST /invocations", answers(ENVELOPE))
    await session.invoke(request_)
    assert platform.seen[-1].json == body


@pytest.mark.promise("client.request-forms")
async def test_a_request_without_a_form_in_json_is_refused_here(platform: FakePlatform, session: SandboxSession):
    for unsayable in ({"a": object()}, InvocationRequest(data={"a": object()}), {"n": 2**64}, "\ud800"):
        with pytest.raises(ValidationError, match="no form in JSON"):
            await session.invoke(unsayable)
    for request in (7, None, ["hi"]):
        with pytest.raises(InvocationError, match=r"^Invalid request format"):
            await session.invoke(cast("Any", request))
        with pytest.raises(InvocationError, match=r"^Invalid request format"):
            await session.invoke(cast("Any", request), stream=True)
    assert platform.asked("POST /invocations") == []


@pytest.mark.promise("client.one-shot")
async def test_no_session_is_made_for_what_cannot_be_sent(platform: FakePlatform, client: AgentRuntimeClient):
    with pytest.raises(InvocationError):
        await client.invoke_agent("hello", cast("Any", 7))
    with pytest.raises(ValidationError):
        await client.invoke_agent_stream("hello", {"a": object()})
    assert platform.seen == []


@pytest.mark.promise("client.result")
@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (answers({"result": 1}), {"result": 1}),
        (answers({"status": "error", "error": "mine"}), {"status": "error", "error": "mine"}),
        (answers([1, 2]), [1, 2]),
        (raw(b"null"), None),
        (raw(b"plain words", content_type="text/plain"), "plain words"),
        (streams(b'data: "a"\n\n', b'data: "b"\n\n'), "ab"),
        (streams(b'data: {"a": 1}\n\ndata: "b"\n\n'), [{"a": 1}, "b"]),
    ],
)
async def test_the_result_is_what_the_agent_returned(platform: FakePlatform, session: SandboxSession, answer: Answer, result: object):
    platform.on("POST /invocations", answer)
    response = await session.invoke("hi")
    assert (response.result, response.status) == (result, "success")
    assert response.duration > 0


@pytest.mark.promise("client.result")
async def test_an_answer_reads_as_a_mapping_whatever_the_agent_calls_its_fields(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", answers({**ENVELOPE, "items": [1], "keys": "k", "tokens_used": 7}))
    response = await session.invoke("hi")
    assert (response["items"], response["keys"], response.get("tokens_used"), response.tokens_used) == ([1], "k", 7, 7)
    assert dict(response.items()) == {**response} == dict(zip(response.keys(), response.values(), strict=True))
    with pytest.raises(KeyError, match="copy"):
        response["copy"]


@pytest.mark.promise("client.agent-errors")
@pytest.mark.parametrize(
    "answer",
    [
        answers({"result": None, "status": "error", "duration": 0.1, "error": "division by zero", "error_type": "ZeroDivisionError"}, 500),
        answers({"result": None, "status": "error", "duration": 0.1, "error": "division by zero", "error_type": "ZeroDivisionError"}),
    ],
)
async def test_an_agent_that_fails_is_an_invocation_error(platform: FakePlatform, session: SandboxSession, answer: Answer):
    platform.on("POST /invocations", answer)
    with pytest.raises(InvocationError, match="ZeroDivisionError: division by zero") as caught:
        await session.invoke("hi")
    error = caught.value
    assert (error.error_code, error.request_id, error.sandbox_id) == ("agent_failed", "req-1", "i1")
    assert error.details["error_type"] == "ZeroDivisionError"


@pytest.mark.promise("client.agent-errors")
async def test_the_agents_own_401_is_no_complaint_about_the_key(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", answers({"detail": "who are you?"}, 401))
    with pytest.raises(InvocationError, match=re.escape("who are you?")):
        await session.invoke("hi")


@pytest.mark.promise("client.agent-errors")
@pytest.mark.parametrize("slug", ["sandbox_not_found", "sandbox_gone", "sandbox_paused", "agent_crashed", "unauthenticated"])
async def test_what_a_platform_told_the_agent_says_nothing_of_this_session(platform: FakePlatform, session: SandboxSession, slug: str):
    """An agent that uses the platform itself may pass on what it was refused with."""
    passed_on: dict[str, Any] = {"code": 404, "message": "The sandbox was not found", "error_code": slug, "request_id": "another"}
    platform.on("POST /invocations", answers(passed_on, 404), answers({**passed_on, "request_id": "req-1", "sandboxId": "i9"}, 502))
    for _ in range(2):
        with pytest.raises(InvocationError, match="The sandbox was not found") as caught:
            await session.invoke("hi")
        assert (caught.value.error_code, session.status) == ("agent_failed", SessionStatus.ACTIVE)


@pytest.mark.promise("client.agent-errors")
async def test_an_agent_that_has_too_much_to_do_says_when_to_come_back(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", answers({"error": "slow down", "error_type": "rate_limited"}, 429, retry_after="3"))
    with pytest.raises(RateLimitError, match="slow down") as caught:
        await session.invoke("hi")
    assert (caught.value.retry_after, len(platform.asked("POST /invocations"))) == (3, 1)


@pytest.mark.promise("client.agent-errors")
async def test_an_agent_that_dies_says_how(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", refused(502, "agent_crashed", "the agent exited", exit_code=-9, output="MemoryError"))
    with pytest.raises(InvocationError) as caught:
        await session.invoke("hi")
    assert (caught.value.exit_code, caught.value.output, session.status) == (-9, "MemoryError", SessionStatus.ERROR)


@pytest.mark.promise("client.gone")
async def test_an_ended_session_is_not_found(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", refused(502, "sandbox_gone", "The sandbox was not found: its time was up", state="stopped"))
    with pytest.raises(SessionNotFoundError, match="its time was up"):
        await session.invoke("hi")
    assert session.status is SessionStatus.CLOSED


@pytest.mark.promise("client.deadlines")
async def test_a_slow_agent_is_an_invocation_error_and_is_cancelled(platform: FakePlatform, session: SandboxSession):
    platform.on("POST /invocations", never)
    with pytest.raises(InvocationError) as caught:
        await session.call("hi", timeout=0.05)
    assert caught.value.error_code == "timeout"
    await platform.until(lambda: platform.left == 1)


@pytest.mark.promise("client.deadlines")
@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "soon"])
async def test_a_time_out_that_is_none_is_refused(platform: FakePlatform, session: SandboxSession, seconds: Any):
    for send in (lambda: session.call("hi", timeout=seconds), lambda: session.stream("hi", timeout=seconds)):
        with pytest.raises(ValidationError, match="a time-out is a number of seconds above 0"):
            await send()
    with pytest.raises(ValidationError, match="a time-out is a number of seconds above 0"):
        AgentRuntimeClient("sk-testing", timeout=seconds)
    assert platform.asked("POST /invocations") == []


@pytest.mark.promise("client.one-shot")
async def test_a_call_without_a_session_makes_one_and_closes_it(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /invocations", answers(ENVELOPE))
    assert (await client.invoke_agent("hello", {"prompt": "hi"})).result == "hello"
    assert [f"{asked.method} {asked.path}" for asked in platform.seen] == ["POST /sandboxes", "POST /invocations", "DELETE /sandboxes/i1"]


@pytest.mark.promise("client.one-shot")
async def test_its_session_is_closed_also_when_the_call_fails_or_is_cancelled(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /invocations", answers({"error": "no"}, 500), never)
    with pytest.raises(InvocationError):
        await client.invoke_agent("hello", "hi")
    assert len(platform.asked("DELETE /sandboxes/i1")) == 1
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.invoke_agent("hello", "hi")
    assert len(platform.asked("DELETE /sandboxes/i1")) == 2


@pytest.mark.promise("client.one-shot")
async def test_a_call_that_is_left_while_its_session_is_made_leaves_the_creation(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("POST /sandboxes", never)
    call = asyncio.create_task(client.invoke_agent("hello", "hi"))
    await platform.until(lambda: platform.seen)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await platform.until(lambda: platform.left == 1)
    assert "idempotency-key" not in platform.seen[0].headers  # with one the platform would go on for a second try


@pytest.mark.promise("client.one-sandbox")
async def test_many_calls_with_one_id_make_no_further_sandbox(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("GET /sandboxes/i7", answers(detail("i7")))
    platform.on("POST /invocations", answers(ENVELOPE))
    await asyncio.gather(*[client.invoke_agent("hello", "hi", sandbox_id="i7") for _ in range(50)])
    assert platform.asked("POST /sandboxes") == []
    assert {asked.headers["ppio-sandbox-id"] for asked in platform.asked("POST /invocations")} == {"i7"}


@pytest.mark.promise("client.one-shot")
async def test_a_session_can_be_named(platform: FakePlatform, client: AgentRuntimeClient, session: SandboxSession):
    platform.on("POST /invocations", answers(ENVELOPE))
    await client.invoke_agent("hello", "hi", sandbox_id=session.sandbox_id)
    await client.invoke_agent("hello", "hi", session_id=session.sandbox_id)
    assert platform.asked("DELETE /sandboxes/i1") == []
    platform.on("GET /sandboxes/i9", refused(404, "sandbox_not_found"))
    with pytest.raises(SessionNotFoundError):
        await client.invoke_agent("hello", "hi", sandbox_id="i9")
    with pytest.raises(ValueError, match=r"^Either sandbox_id or create_session=True must be provided$"):
        await client.invoke_agent("hello", "hi", create_session=False)
    with pytest.raises(ValueError, match=r"^Either sandbox_id or create_session=True must be provided$"):
        await client.invoke_agent_stream("hello", "hi", create_session=False)


@pytest.mark.promise("client.one-pool")
async def test_many_calls_at_once_share_one_pool(platform: FakePlatform, client: AgentRuntimeClient, session: SandboxSession):
    platform.on("POST /invocations", answers(ENVELOPE))
    responses = await asyncio.gather(*[session.invoke(f"{n}") for n in range(200)])
    assert [response.result for response in responses] == ["hello"] * 200
