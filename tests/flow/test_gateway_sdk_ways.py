"""How the clients go about it: when they try again, how tokens are renewed, how streams are read and left, what bodies look like."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway_sdk import (
    AsyncGatewayClient,
    AuthenticationError,
    GatewayClient,
    GatewayError,
    PrefabCall,
    RateLimitError,
    ServiceUnavailableError,
    StreamEvent,
)
from support.fake_platform import Asked, FakePlatform, Line, answers, raw, streams
from support.gateways import CONVERT, RUN, Kind, event, face, refuses, succeeded, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.fake_platform import Answer

pytestmark = pytest.mark.anyio
KINDS: tuple[Kind, ...] = ("sync", "async")
KEY: dict[str, Any] = {"idempotency_key": "once-only"}


def once(*first: Answer) -> tuple[Answer, ...]:
    return (*first, succeeded({"x": 1}))


@pytest.mark.promise("gateway-sdk.retries")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "first",
    [
        (refuses(503, "UNAVAILABLE", retry_after="0"),),
        (raw(b"<html>", 502, "text/html"),),
        (refuses(429, "RATE_LIMITED", retry_after="0"),),
        (streams(b" ", cut=True),),
        (refuses(409, "IDEMPOTENCY_IN_PROGRESS", retry_after="0"),) * 6,
    ],
    ids=["503", "502", "rate", "cut", "in-progress"],
)
async def test_a_call_with_a_key_is_sent_again_with_the_same_key(kind: Kind, first: tuple[Answer, ...]) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, *once(*first))
        result = await client.run(**KEY)
        assert result.get("x") == 1
        asked = platform.asked(RUN)
        assert len(asked) == len(first) + 1
        assert {(one.headers["idempotency-key"], one.body) for one in asked} == {("once-only", asked[0].body)}


@pytest.mark.promise("gateway-sdk.retries")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_with_a_key_is_asked_for_again_until_it_has_begun(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, refuses(503, "UNAVAILABLE", retry_after="0"), streams(event("done", 5)))
        assert [item.data for item in await client.stream(**KEY)] == [5]
        platform.on(RUN, streams(event("content", 1), cut=True))
        before = len(platform.asked(RUN))
        with pytest.raises(ServiceUnavailableError):
            await client.stream(**KEY)
        assert len(platform.asked(RUN)) == before + 1


@pytest.mark.promise("gateway-sdk.retries")
@pytest.mark.parametrize("kind", KINDS)
async def test_what_would_not_help_is_not_sent_again(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        for refusal in (refuses(500, "INTERNAL"), refuses(422, "VALIDATION_ERROR"), refuses(429, "QUOTA_EXCEEDED", retry_after="0")):
            platform.on(RUN, refusal)
            before = len(platform.asked(RUN))
            with pytest.raises(GatewayError):
                await client.run(**KEY)
            assert len(platform.asked(RUN)) == before + 1
        platform.on(RUN, refuses(503, "UNAVAILABLE", retry_after="0"))
        with pytest.raises(ServiceUnavailableError):
            await client.run(**KEY)
        assert len(platform.asked(RUN)) == 3 + 4, "four times, and then it is told"
        platform.on(RUN, refuses(429, "RATE_LIMITED", retry_after="3600"))
        with pytest.raises(RateLimitError) as caught:
            await client.run(**KEY)
        assert caught.value.retry_after == 3600
        with pytest.raises(ValueError, match="idempotency key"):
            await client.run(idempotency_key="two words")


@pytest.mark.promise("gateway-sdk.retries")
@pytest.mark.parametrize("kind", KINDS)
async def test_retry_after_is_waited_for_and_reading_is_repeated_without_a_key(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on("GET /v1/prefabs", refuses(429, "RATE_LIMITED", retry_after="0.3"), answers([]))
        started = time.monotonic()
        assert await client.call("list_prefabs") == []
        assert time.monotonic() - started >= 0.3
        platform.on("GET /v1/prefabs", refuses(503, "UNAVAILABLE", retry_after="Thu, 01 Jan 2026 00:00:00 GMT"), answers([]))
        assert await client.call("list_prefabs") == []


@pytest.mark.promise("gateway-sdk.renewal")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_is_exchanged_when_needed_when_refused_and_before_it_expires(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url, api_key="sk-key") as client:
        platform.on(CONVERT, token("first"), token("second"), token("short", 0), token("last"))
        platform.on(RUN, succeeded(), refuses(401, "UNAUTHENTICATED"), succeeded())
        assert platform.seen == [], "nothing is sent by making a client"
        for _ in range(2):
            await client.run()
        assert [one.headers.get("x-internal-token") for one in platform.asked(RUN)] == ["first", "first", "second"]
        assert {one.headers["authorization"] for one in platform.asked(CONVERT)} == {"Bearer sk-key"}
        assert all("authorization" not in one.headers for one in platform.asked(RUN))
        platform.on(RUN, refuses(401, "UNAUTHENTICATED"), succeeded())
        await client.run()  # with a token that lives for no time
        await client.run()
        assert platform.asked(RUN)[-1].headers["x-internal-token"] == "last"
        platform.on(RUN, refuses(401, "UNAUTHENTICATED", "still no"))
        with pytest.raises(AuthenticationError, match="still no"):
            await client.run()


@pytest.mark.promise("gateway-sdk.renewal")
@pytest.mark.parametrize("kind", KINDS)
async def test_many_that_wait_for_a_token_exchange_the_key_once(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url, api_key="sk-key") as client:
        platform.on(CONVERT, token())
        platform.on(RUN, succeeded())
        await asyncio.gather(*[client.run() for _ in range(16)])
        assert len(platform.asked(CONVERT)) == 1


@pytest.mark.promise("gateway-sdk.credentials")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        ({}, "x-internal-token", None),
        ({"internal_token": "i", "api_key": "sk-k", "jwt_token": "j"}, "x-internal-token", "i"),
        ({"api_key": "sk-k", "jwt_token": "j"}, "x-internal-token", "token-1"),
        ({"jwt_token": "j"}, "authorization", "Bearer j"),
    ],
)
async def test_the_first_of_the_credentials_is_sent_alone(kind: Kind, options: dict[str, str], header: str, value: str | None) -> None:
    async with FakePlatform() as platform, face(kind, platform.url, **options) as client:
        platform.on(CONVERT, token())
        platform.on(RUN, succeeded())
        await client.run()
        [asked] = platform.asked(RUN)
        assert asked.headers.get(header) == value
        assert len({"x-internal-token", "authorization", "x-api-key"} & set(asked.headers)) == (value is not None)


@pytest.mark.promise("gateway-sdk.credentials")
async def test_a_first_argument_that_is_an_address_is_the_base_url_and_from_api_key_asks_at_once() -> None:
    async with FakePlatform() as platform:
        platform.on(CONVERT, token("t"))
        assert GatewayClient(platform.url + "/").base_url == platform.url
        assert AsyncGatewayClient(platform.url).base_url == platform.url
        (await asyncio.to_thread(GatewayClient.from_api_key, "sk-x", platform.url)).close()
        await (await AsyncGatewayClient.from_api_key("sk-x", platform.url)).close()
        assert len(platform.asked(CONVERT)) == 2


@pytest.mark.promise("gateway-sdk.bodies")
@pytest.mark.parametrize("kind", KINDS)
async def test_bodies_are_those_of_the_public_client(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, succeeded())
        await client.call("run", "p", "1.0.0", "f", {"text": "你好"}, {"video": ["s3://b/k"]})
        await client.call("run", "p", "latest", "f", None, {})
        first, second = platform.asked(RUN)
        assert first.json == {
            "calls": [
                {
                    "prefab_id": "p",
                    "version": "1.0.0",
                    "function_name": "f",
                    "inputs": {"parameters": {"text": "你好"}, "files": {"video": ["s3://b/k"]}},
                }
            ],
            "stream": False,
        }
        assert "你好".encode() in first.body
        assert second.json["calls"][0]["inputs"] == {"parameters": None}
        assert (first.headers["accept"], first.headers["content-type"]) == ("application/json", "application/json")
        platform.on(RUN, streams(event("done")))
        await client.stream()
        asked = platform.asked(RUN)[-1]
        assert (asked.headers["accept"], asked.json["stream"]) == ("text/event-stream", True)


@pytest.mark.promise("gateway-sdk.bodies")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_has_a_result_for_each_call_in_order(kind: Kind) -> None:
    failed = {"status": "FAILED", "output": None, "error": {"error_code": "NOT_FOUND", "message": "no"}}
    fine = {"status": "SUCCESS", "output": {"status": "SUCCESS", "output": {"n": 2}, "files": {"o": ["s3://b/o"]}}, "error": None}
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, answers({"job_id": "j", "status": "PARTIAL_SUCCESS", "results": [failed, fine]}))
        batch = await client.call("run_batch", [PrefabCall("a", "1", "f", {}), PrefabCall("b", "1", "f", parameters={"x": 1})])
        assert (batch.job_id, batch.status) == ("j", "PARTIAL_SUCCESS")
        assert [result.is_success() for result in batch.results] == [False, True]
        assert batch.results[1].get("n") == 2
        assert batch.results[1].get_files() == {"o": ["s3://b/o"]}
        with pytest.raises(GatewayError, match="2 results for 1"):
            await client.call("run_batch", [PrefabCall("a", "1", "f", {})])


CONTENT = StreamEvent("content", "é")
DONE = StreamEvent("done", 1)
ODD: dict[str, tuple[bytes, list[StreamEvent]]] = {
    "plain": (event("content", "é") + event("done", 1), [CONTENT, DONE]),
    "no-space": ('data:{"type":"content","data":"é"}\n\ndata:{"type":"done","data":1}\n\n'.encode(), [CONTENT, DONE]),
    "cr": ('data: {"type":"content","data":"é"}\r\rdata: {"type":"done","data":1}\r\r'.encode(), [CONTENT, DONE]),
    "crlf": ('data: {"type":"content","data":"é"}\r\n\r\ndata: {"type":"done","data":1}\r\n\r\n'.encode(), [CONTENT, DONE]),
    "bom": (b"\xef\xbb\xbf" + event("content", "é") + event("done", 1), [CONTENT, DONE]),
    "lines": ('data: {"type":"content",\ndata: "data":"é"}\n\ndata: {"type":"done","data":1}\n\n'.encode(), [CONTENT, DONE]),
    "unended": ('data: {"type":"content","data":"é"}\n\ndata: {"type":"done","data":1}'.encode(), [CONTENT, DONE]),
    "comments": (b": ping\n\n" + event("content", "é") + b": ping\n\n" + event("done", 1), [CONTENT, DONE]),
    "named": ('event: content\ndata: {"data":"é"}\n\nevent: done\ndata: {"data":1}\n\n'.encode(), [CONTENT, DONE]),
    "unknown": (event("file", "x") + event("done", 1), [StreamEvent("file", "x"), DONE]),
    "mark": (event("content", "é") + b"data: [DONE]\n\n" + event("done", 1), [CONTENT, DONE]),
    "number": (b"data: 5\n\n" + event("done", 1), [StreamEvent("content", 5), DONE]),
    "text": (b"data: hello\n\n" + event("done", 1), [StreamEvent("content", "hello"), DONE]),
    "no-utf8": (b'data: {"type":"content","data":"\xff"}\n\n' + event("done", 1), [StreamEvent("content", "\ufffd"), DONE]),
    "after-done": (event("done", 1) + event("content", "late"), [DONE]),
    "error": (
        event("error", "no", error_code="CODE", metadata={"a": 1}) + event("done", 1),
        [StreamEvent("error", "no", "CODE", {"a": 1})],
    ),
    "files": (event("done", 1, files={"o": ["s3://b/k"]}), [StreamEvent("done", 1, files={"o": ["s3://b/k"]})]),
}


@pytest.mark.promise("gateway-sdk.streams")
@pytest.mark.parametrize("pieces", ["whole", "bytes"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ODD)
async def test_streams_are_read_by_the_standard_however_they_are_cut(case: str, kind: Kind, pieces: str) -> None:
    body, expected = ODD[case]
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, streams(*([body] if pieces == "whole" else [body[i : i + 1] for i in range(len(body))])))
        assert await client.stream() == expected


@pytest.mark.promise("gateway-sdk.streams")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_that_ends_too_early_raises(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        for answer in (streams(event("content")), streams(event("content"), cut=True), streams()):
            platform.on(RUN, answer)
            with pytest.raises(ServiceUnavailableError):
                await client.stream()


@pytest.mark.promise("gateway-sdk.streams")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_is_read_in_linear_time_and_an_endless_event_is_refused(kind: Kind) -> None:
    block = b"x" * 2**20
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, streams(b'data: {"type":"content","data":"', *[block] * 8, b'"}\n\n', event("done")))
        started = time.process_time()
        first, _ = await client.stream()
        assert len(first.data) == 8 * 2**20
        assert time.process_time() - started < 5
        platform.on(RUN, streams(b"data: ", *[block] * 20))
        with pytest.raises(GatewayError, match="larger than 16 MiB"):
            await client.stream()


@pytest.mark.promise("gateway-sdk.streams")
@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_in_json_is_the_end_of_the_stream(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, succeeded({"x": 1}))
        [end] = await client.stream()
        assert (end.type, end.data["output"]) == ("done", {"x": 1})


def endless() -> Callable[[Asked, Line], Any]:
    async def answer(_: Asked, line: Line) -> None:
        await line.begin()
        while not line.left.is_set():
            await line.part(event("content", "x"))
            await asyncio.sleep(0.01)

    return answer


@pytest.mark.promise("gateway-sdk.break")
@pytest.mark.parametrize("kind", KINDS)
async def test_leaving_the_loop_closes_the_connection(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(RUN, endless())
        assert len(await client.stream(most=3)) == 3
        await platform.until(lambda: platform.left == 1)


@pytest.mark.promise("gateway-sdk.break")
async def test_a_stream_that_is_kept_is_closed_by_the_loop_that_was_left_by_with_and_by_close() -> None:
    async with FakePlatform() as platform, AsyncGatewayClient(base_url=platform.url) as client:
        platform.on(RUN, endless())

        def kept() -> list[Any]:
            with GatewayClient(base_url=platform.url) as one:
                first, second, third = (one.run("p", "1", "f", {}, stream=True) for _ in range(3))
                for _ in first:
                    break
                with second as entered:
                    assert next(entered).type == "content"
                assert next(third).type == "content"
                third.close()
                assert list(first) == list(second) == list(third) == []
                return [first, second, third]

        held = await asyncio.to_thread(kept)
        await platform.until(lambda: platform.left == 3)
        stream = client.run("p", "1", "f", {}, stream=True)
        async for _ in stream:
            break
        gc.collect()
        await platform.until(lambda: platform.left == 4)
        async with client.run("p", "1", "f", {}, stream=True) as other:
            assert (await anext(other)).type == "content"
        await platform.until(lambda: platform.left == 5)
        assert [item async for item in await other] == []
        assert len(held) == 3


@pytest.mark.promise("gateway-sdk.connections")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_closed_client_says_so(kind: Kind) -> None:
    async with FakePlatform() as platform:
        async with face(kind, platform.url) as client:
            platform.on(RUN, succeeded())
            await client.run()
        with pytest.raises(GatewayError, match="closed"):
            await client.run()


@pytest.mark.promise("gateway-sdk.bodies")
@pytest.mark.parametrize("kind", KINDS)
async def test_the_registry_is_read_as_records(kind: Kind) -> None:
    item = {
        "id": "p",
        "prefab_id": "p",
        "version": "1.0.0",
        "name": "P",
        "description": "d",
        "tags": ["t"],
        "functions": ["f", {"name": "g"}],
    }
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on("GET /v1/prefabs", answers([item | {"deployment_status": "DEPLOYED", "requires_secrets": True, "more": 1}]))
        platform.on("GET /v1/prefabs/p/spec", answers({"version": "2.0.0"}))
        platform.on("GET /v1/prefabs/p/1.0.0/spec", answers({"version": "1.0.0"}))
        [found] = await client.call("list_prefabs", "deployed")
        assert platform.seen[-1].query == {"status": ["deployed"]}
        assert (found.id, found.version, found.tags, found.functions, found.requires_secrets) == ("p", "1.0.0", ("t",), ("f", "g"), True)
        assert found.raw["more"] == 1
        assert (await client.call("get_prefab_spec", "p"))["version"] == "2.0.0"
        assert (await client.call("get_prefab_spec", "p", "1.0.0"))["version"] == "1.0.0"
