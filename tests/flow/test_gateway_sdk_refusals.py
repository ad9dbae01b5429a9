"""What the clients make of every refusal, of nonsense, and of silence: gateway-contract 1.4's table, plain and streamed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from gateway_sdk import (
    AgentContextRequiredError,
    AuthenticationError,
    GatewayClient,
    GatewayError,
    MissingSecretError,
    PrefabExecutionError,
    PrefabNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
    StoredFileNotFoundError,
    ValidationError,
)
from support.fake_platform import FakePlatform, answers, never, raw, streams
from support.gateways import CONVERT, LINK, RUN, Kind, event, face, names_in, refuses, sends, succeeded, token

if TYPE_CHECKING:
    from pathlib import Path

    from support.fake_platform import Answer

pytestmark = pytest.mark.anyio
KINDS: tuple[Kind, ...] = ("sync", "async")
SECRET = "signature-of-the-url"
TOKEN = "token-of-the-caller"

TABLE: dict[str, tuple[Answer, type[GatewayError], dict[str, Any]]] = {
    "401": (refuses(401, "UNAUTHENTICATED", "who?"), AuthenticationError, {"message": "who?", "request_id": "req-9", "status_code": 401}),
    "403": (refuses(403, "PERMISSION_DENIED", "not you"), AuthenticationError, {"message": "not you"}),
    "401-text": (raw(b"go away", 401, "text/plain"), AuthenticationError, {"message": "HTTP 401: go away"}),
    "404": (refuses(404), PrefabNotFoundError, {"prefab_id": "some-prefab", "version": "1.0.0"}),
    "404-named": (refuses(404, "NOT_FOUND", prefab_id="x", version="2.0.0"), PrefabNotFoundError, {"prefab_id": "x", "version": "2.0.0"}),
    "404-file": (refuses(404, "NOT_FOUND", s3_url="s3://b/k"), StoredFileNotFoundError, {"s3_url": "s3://b/k"}),
    "422": (refuses(422, "VALIDATION_ERROR", "a must be", pointer="/a"), ValidationError, {"message": "a must be", "pointer": "/a"}),
    "422-list": (answers({"detail": [{"loc": ["body"], "msg": "bad"}]}, 422), ValidationError, {}),
    "429": (
        refuses(429, "QUOTA_EXCEEDED", limit=5, used=5, quota_type="calls", reset_at="2026-12-01T00:00:00Z"),
        QuotaExceededError,
        {"limit": 5, "used": 5, "quota_type": "calls", "reset_at": "2026-12-01T00:00:00Z"},
    ),
    "429-string": (answers({"detail": "slow down"}, 429), QuotaExceededError, {"limit": 0, "used": 0, "quota_type": "unknown"}),
    "429-html": (raw(b"<html><h1>429</h1></html>", 429, "text/html"), QuotaExceededError, {"message": "HTTP 429"}),
    "429-rate": (refuses(429, "RATE_LIMITED", retry_after="7"), RateLimitError, {"retry_after": 7.0, "used": 0}),
    "400-secret": (
        refuses(400, "MISSING_SECRET", prefab_id="p", secret_name="KEY", instructions="get one"),
        MissingSecretError,
        {"prefab_id": "p", "secret_name": "KEY", "instructions": "get one"},
    ),
    "400-agent": (refuses(400, "MISSING_AGENT_CONTEXT"), AgentContextRequiredError, {}),
    "400": (refuses(400, "BAD_REQUEST"), GatewayError, {"error_code": "BAD_REQUEST"}),
    "402": (refuses(402, "PAYMENT_REQUIRED"), GatewayError, {"error_code": "PAYMENT_REQUIRED", "status_code": 402}),
    "409": (refuses(409, "IDEMPOTENCY_IN_PROGRESS"), GatewayError, {"error_code": "IDEMPOTENCY_IN_PROGRESS"}),
    "413": (raw(b"", 413), GatewayError, {"error_code": "UNKNOWN_ERROR", "message": "HTTP 413"}),
    "500": (refuses(500, "INTERNAL"), ServiceUnavailableError, {"error_code": "INTERNAL"}),
    "502-html": (raw(b"<html>bad gateway</html>", 502, "text/html"), ServiceUnavailableError, {"status_code": 502}),
    "503": (refuses(503, "UNAVAILABLE", retry_after="2"), ServiceUnavailableError, {"retry_after": 2.0}),
    "507": (refuses(507, "STORAGE_FULL"), ServiceUnavailableError, {}),
    "307": (answers({}, 307, location="https://elsewhere/"), GatewayError, {"status_code": 307}),
    "nonsense": (raw(b"\xff\xfe{", 200), GatewayError, {"error_code": "UNREADABLE_REPLY"}),
    "array": (answers([1, 2]), GatewayError, {"error_code": "UNREADABLE_REPLY"}),
    "no-results": (answers({"job_id": "j", "status": "COMPLETED", "results": []}), GatewayError, {"error_code": "UNREADABLE_REPLY"}),
    "running": (
        answers({"job_id": "j", "status": "RUNNING", "results": [{"status": "RUNNING", "output": None}]}),
        GatewayError,
        {"error_code": "UNREADABLE_REPLY"},
    ),
    "cut": (streams(b" ", cut=True), ServiceUnavailableError, {}),
}


@pytest.mark.promise("gateway-sdk.errors")
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", TABLE)
async def test_each_answer_has_its_exception_streamed_or_not(case: str, kind: Kind, streamed: bool) -> None:
    answer, expected, attributes = TABLE[case]
    async with FakePlatform() as platform, face(kind, platform.url, internal_token=TOKEN) as client:
        platform.on(RUN, answer)
        with pytest.raises(GatewayError) as caught:
            await (client.stream() if streamed else client.run())
        assert type(caught.value) is expected
        assert {name: getattr(caught.value, name) for name in attributes} == attributes
        assert len(platform.asked(RUN)) == 1, "what has no idempotency key is sent once"
        assert TOKEN not in str(caught.value)


@pytest.mark.promise("gateway-sdk.errors")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_gateway_that_is_not_there_is_unavailable(kind: Kind) -> None:
    async with FakePlatform() as platform:
        url = platform.url
    async with face(kind, url) as client:
        for call in (client.run, client.stream):
            with pytest.raises(ServiceUnavailableError) as caught:
                await call()
            assert caught.value.error_code == "CONNECT_FAILED"
            assert "connection refused" in str(caught.value)


@pytest.mark.promise("gateway-sdk.timeout")
@pytest.mark.parametrize("kind", KINDS)
async def test_the_timeout_bounds_a_request_and_the_silence_of_a_stream(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url, timeout=0.3) as client:
        platform.on(RUN, never)
        for call in (client.run, client.stream):
            with pytest.raises(ServiceUnavailableError) as caught:
                await call()
            assert caught.value.error_code == "TIMEOUT"
        await platform.until(lambda: platform.left == 2)


@pytest.mark.promise("gateway-sdk.timeout")
def test_the_default_timeout_is_the_decided_one() -> None:
    assert GatewayClient().timeout == 1200
    assert GatewayClient(jwt_token="x", timeout=120).timeout == 120


@pytest.mark.promise("gateway-sdk.errors")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refuses(401, "UNAUTHENTICATED"), AuthenticationError),
        (refuses(403, "PERMISSION_DENIED"), AuthenticationError),
        (refuses(429, "QUOTA_EXCEEDED"), QuotaExceededError),
        (refuses(500, "INTERNAL"), ServiceUnavailableError),
        (raw(b"<html>", 200), GatewayError),
        (answers({"token_type": "internal"}), GatewayError),
        (answers({"internal_token": None, "expires_in": 3}), GatewayError),
    ],
)
async def test_a_key_that_cannot_be_exchanged_is_a_typed_error(kind: Kind, answer: Answer, expected: type[GatewayError]) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(CONVERT, answer)
        with pytest.raises(GatewayError) as caught:
            await client.call("from_api_key", "sk-secret-key", platform.url)
        assert type(caught.value) is expected
        assert "sk-secret-key" not in str(caught.value)


@pytest.mark.promise("gateway-sdk.errors")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", ["line\nbreak", "naïve-ü", "with space", "nul\0"])
@pytest.mark.parametrize("name", ["internal_token", "api_key", "jwt_token"])
async def test_a_token_that_no_header_can_hold_is_refused_here(kind: Kind, bad: str, name: str) -> None:
    async with FakePlatform() as platform, face(kind, platform.url, **{name: bad}) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.run()
        assert bad not in str(caught.value)
        assert platform.seen == []


@pytest.mark.promise("gateway-sdk.errors")
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_json_and_no_s3_url_is_refused_before_it_is_sent(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        cycle: dict[str, Any] = {}
        cycle["itself"] = cycle
        for value in (float("nan"), float("inf"), cycle, "\ud800"):
            with pytest.raises(ValueError):  # noqa: PT011 (which of JSON's complaints it is does not matter)
                await client.call("run", "p", "1.0.0", "f", {"x": value})
        with pytest.raises(TypeError):
            await client.call("run", "p", "1.0.0", "f", {"x": object()})
        for files in ({"video": ["/tmp/input.mp4"]}, {"video": ["http://host/x"]}, {"video": "s3://bucket/x"}):
            with pytest.raises(ValueError, match="s3://"):
                await client.call("run", "p", "1.0.0", "f", {}, files)
        assert platform.seen == []


@pytest.mark.promise("gateway-sdk.failed-results")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_function_that_fails_is_a_result_whose_exception_can_be_had(kind: Kind) -> None:
    error = {"error_code": "FUNCTION_ERROR", "message": "ValueError: no"}
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, answers({"job_id": "j", "status": "FAILED", "results": [{"status": "FAILED", "output": None, "error": error}]}))
        result = await client.run()
        assert (result.is_success(), result.error, result.job_id, result.get_files()) == (False, error, "j", {})
        assert type(result.exception()) is PrefabExecutionError
        platform.on(RUN, streams(event("error", "it broke", error_code="QUOTA_EXCEEDED", metadata={"limit": 3, "used": 3})))
        [last] = await client.stream()
        assert isinstance(last.exception(), QuotaExceededError)
        assert last.error_code == "QUOTA_EXCEEDED"
        assert str(last.exception()) == "it broke"


@pytest.mark.promise("gateway-sdk.secrets")
@pytest.mark.parametrize("kind", KINDS)
async def test_no_signed_url_and_no_token_stands_in_a_log_or_an_error(kind: Kind, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "input.txt"
    file.write_text("x")
    xml = f"<Error><Code>AccessDenied</Code><Message>Request has expired</Message><StringToSign>{SECRET}</StringToSign></Error>".encode()
    async with FakePlatform() as platform, face(kind, platform.url, internal_token=TOKEN) as client:
        signed = f"{platform.url}/blob?X-Amz-Signature={SECRET}"
        platform.on(LINK, answers({"presigned_url": signed, "expires_in": 60}))
        platform.on("POST /internal/files/generate_upload_url", answers({"upload_url": signed, "s3_url": "s3://b/k", "expires_in": 60}))
        platform.on("POST /internal/files/upload", refuses(500, "INTERNAL", f"token {TOKEN} at {signed}"))
        failures: list[BaseException] = []
        for refused in (raw(xml, 403, "application/xml"), raw(signed.encode(), 410, "text/plain"), sends(b"x", announced=9)):
            platform.on("GET /blob", refused)
            platform.on("PUT /blob", refused)
            for call in (
                client.call("download_file", "s3://b/k", tmp_path / "output.txt"),
                client.call("upload_input_file", file),
                client.call("upload_file", file),
            ):
                with pytest.raises(GatewayError) as caught:
                    await call
                failures.append(caught.value)
        platform.on(LINK, answers({"presigned_url": f"nonsense {SECRET}", "expires_in": 60}))
        with pytest.raises(GatewayError) as caught:
            await client.call("download_file", "s3://b/k", tmp_path / "output.txt")
        failures.append(caught.value)
    told = [caplog.text, *(f"{error} {error!r} {vars(error)} {error.__cause__!r} {error.__context__!r}" for error in failures)]
    assert [text for text in told if SECRET in text or TOKEN in text] == []
    assert "Request has expired" in str(failures[0])
    assert "/blob" in caplog.text, "what was sent is logged, without its query"
    assert names_in(tmp_path) == ["input.txt"]


@pytest.mark.promise("gateway-sdk.connections")
@pytest.mark.parametrize("kind", KINDS)
async def test_one_connection_serves_all_calls_of_a_client(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url, api_key="sk-x") as client:
        platform.on(CONVERT, token())
        platform.on(RUN, succeeded())
        for _ in range(10):
            await client.run()
        assert (platform.connections, len(platform.asked(RUN)), len(platform.asked(CONVERT))) == (1, 10, 1)
