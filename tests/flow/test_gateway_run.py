"""Runs over HTTP: one call, batches, what is refused, what fails."""

from __future__ import annotations

import asyncio
import gzip
import time
from typing import TYPE_CHECKING, Any

import pytest

from support.prefabs import KIT, call, result, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.platform import Platform

pytestmark = pytest.mark.anyio


def detail(reply: Any, status: int, code: str) -> dict[str, Any]:
    """Return the error of a reply that must have this status and code."""
    assert reply.status_code == status, reply.text
    found = reply.json()["detail"]
    assert found["error_code"] == code, found
    assert found["request_id"] == reply.headers["x-request-id"]
    assert "Traceback" not in reply.text
    assert "/site-packages/" not in reply.text
    return found


@pytest.mark.promise("gateway.run")
async def test_a_call_answers_as_the_public_client_reads_it(gateway: Platform) -> None:
    body = {"calls": [{"prefab_id": KIT, "version": "1.0.0", "function_name": "add", "inputs": {"parameters": {"a": 1, "b": 5}}}]}
    reply = await gateway.api.post("/v1/internal/run", json=body, headers={"Accept": "*/*"})
    assert reply.status_code == 200
    answer = reply.json()
    assert answer["status"] == "COMPLETED"
    assert answer["job_id"]
    assert answer["results"] == [{"status": "SUCCESS", "output": {"status": "SUCCESS", "output": {"sum": 6}, "files": {}}, "error": None}]


@pytest.mark.promise("gateway.run")
@pytest.mark.parametrize("inputs", [{"parameters": None}, {}, None])
async def test_no_parameters_may_be_said_in_several_ways(gateway: Platform, inputs: Any) -> None:
    one = {"prefab_id": KIT, "version": "latest", "function_name": "echo", "inputs": inputs}
    reply = await run(gateway, one)
    assert reply.json()["results"][0]["output"]["output"] == {"value": None}


@pytest.mark.promise("gateway.run")
async def test_the_old_flat_inputs_are_parameters(gateway: Platform) -> None:
    one = {"prefab_id": KIT, "version": "1.0.0", "function_name": "add", "inputs": {"a": 4}}
    assert (await run(gateway, one)).json()["results"][0]["output"]["output"] == {"sum": 6}


@pytest.mark.promise("gateway.run")
async def test_asynchronous_functions_are_awaited(gateway: Platform) -> None:
    assert (await result(gateway, KIT, "later", {"value": 3}))["output"]["output"] == {"value": 3}


@pytest.mark.promise("gateway.no_redirect")
@pytest.mark.parametrize("path", ["/v1/run/", "/v1//run", "/v1/internal/run/", "/v1/prefabs/", "/v1/../v1/run", "/internal/nothing"])
async def test_no_path_redirects(gateway: Platform, path: str) -> None:
    for method in ("GET", "POST"):
        reply = await gateway.api.request(method, path)
        assert reply.status_code in {400, 404, 405}, (method, path, reply.status_code)
        assert "detail" in reply.json()


@pytest.mark.promise("gateway.request_ids")
async def test_answers_carry_a_request_id(gateway: Platform) -> None:
    reply = await run(gateway, call(KIT, "add", {"a": 1}), headers={"X-Request-Id": "mine-1"})
    assert reply.headers["x-request-id"] == "mine-1"
    reply = await run(gateway, call(KIT, "add"), headers={"X-Request-Id": "not sane"})
    assert detail(reply, 422, "VALIDATION_ERROR")["request_id"] != "not sane"


@pytest.mark.promise("gateway.error_body")
async def test_errors_of_every_kind_have_one_shape(gateway: Platform) -> None:
    detail(await gateway.api.get("/v1/nothing"), 404, "NOT_FOUND")
    detail(await gateway.api.get("/v1/run"), 405, "METHOD_NOT_ALLOWED")
    detail(await gateway.api.post("/v1/run", json={"calls": [call(KIT, "add")]}, headers={"X-API-Key": "sk-wrong"}), 401, "UNAUTHENTICATED")
    reply = await gateway.api.get("/v1/prefabs/x/1.0.0/spec", params={"wait": "soon"})
    detail(reply, 422, "VALIDATION_ERROR")


_GOOD = '{"calls":[{"prefab_id":"test-kit","version":"1.0.0","function_name":"echo","inputs":{"parameters":{"value":%s}}}]}'


@pytest.mark.promise("gateway.bodies")
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("not json", 400, "BAD_REQUEST"),
        ("", 400, "BAD_REQUEST"),
        (_GOOD % ('{"a":' * 100_000 + "1" + "}" * 100_000), 400, "BAD_REQUEST"),
        (_GOOD % '{"a":1,"a":2}', 400, "BAD_REQUEST"),
        (_GOOD % '{"a" : 1 ,\n"a"\t:2}', 400, "BAD_REQUEST"),
        (_GOOD % '{"a":1e999}', 400, "BAD_REQUEST"),
        (_GOOD % '{"a":NaN}', 400, "BAD_REQUEST"),
        (_GOOD % '{"a":"\\ud800"}', 400, "BAD_REQUEST"),
        ('{"calls":{}}', 422, "VALIDATION_ERROR"),
        ('{"calls":[]}', 422, "VALIDATION_ERROR"),
        ("{}", 422, "VALIDATION_ERROR"),
        ("[]", 422, "VALIDATION_ERROR"),
        ('{"calls":[1]}', 422, "VALIDATION_ERROR"),
        ('{"calls":[{}]}', 422, "VALIDATION_ERROR"),
        (_GOOD % "{}" + "x", 400, "BAD_REQUEST"),
        ((_GOOD % "{}").replace("}]}", '}],"stream":"yes"}'), 422, "VALIDATION_ERROR"),
        ('{"calls":[' + ",".join(["{}"] * 101) + "]}", 413, "PAYLOAD_TOO_LARGE"),
        ('{"calls":["' + "x" * 9 * 2**20 + '"]}', 413, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_bodies_that_are_no_strict_json_are_refused(gateway: Platform, body: str, status: int, code: str) -> None:
    reply = await gateway.api.post("/v1/run", content=body.encode(), headers={"Content-Type": "application/json"})
    detail(reply, status, code)


@pytest.mark.promise("gateway.bodies")
async def test_bodies_of_other_types_are_refused(gateway: Platform) -> None:
    body = (_GOOD % "{}").encode()
    reply = await gateway.api.post("/v1/run", content=body, headers={"Content-Type": "text/plain"})
    detail(reply, 415, "UNSUPPORTED_MEDIA_TYPE")
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    detail(await gateway.api.post("/v1/run", content=gzip.compress(body), headers=headers), 415, "UNSUPPORTED_MEDIA_TYPE")

    async def chunks() -> AsyncGenerator[bytes]:
        for _ in range(10):
            yield b" " * 2**20

    reply = await gateway.api.post("/v1/run", content=chunks(), headers={"Content-Type": "application/json"})
    detail(reply, 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.promise("gateway.names")
@pytest.mark.parametrize("name", ["__init__", "_STATE", "os.system", "main.__globals__", "Path", "", "x" * 300])
async def test_only_what_the_manifest_names_can_be_called(gateway: Platform, name: str) -> None:
    reply = await run(gateway, call(KIT, name))
    assert reply.status_code in {404, 422}, reply.text


@pytest.mark.promise("gateway.parameters")
@pytest.mark.parametrize(
    ("name", "parameters", "pointer"),
    [
        ("add", {}, "/calls/0/inputs/parameters"),
        ("add", {"a": 1, "c": 1}, "/calls/0/inputs/parameters"),
        ("add", {"a": "1"}, "/calls/0/inputs/parameters/a"),
        ("add", {"a": True}, "/calls/0/inputs/parameters/a"),
        ("wrong", {"kind": "unheard of"}, "/calls/0/inputs/parameters/kind"),
    ],
)
async def test_parameters_are_held_to_the_schema(gateway: Platform, name: str, parameters: dict[str, Any], pointer: str) -> None:
    found = detail(await run(gateway, call(KIT, name, parameters)), 422, "VALIDATION_ERROR")
    assert found["pointer"] == pointer
    assert found["errors"]


@pytest.mark.promise("gateway.parameters")
async def test_odd_names_of_parameters_work(gateway: Platform) -> None:
    found = await result(gateway, KIT, "strange", {"self": "a", "files": "b"})
    assert found["output"]["output"] == {"self": "a", "files": "b"}


@pytest.mark.promise("gateway.file_rules")
@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({}, 422),
        ({"texts": []}, 422),
        ({"texts": ["s3://sandyard/agent-outputs/default/direct/x"] * 4}, 422),
        ({"unknown": ["s3://sandyard/agent-outputs/default/direct/x"]}, 422),
        ({"texts": ["http://example.com/x"]}, 422),
        ({"texts": ["file:///etc/passwd"]}, 422),
        ({"texts": ["s3://sandyard/agent-outputs/default/../x"]}, 422),
        ({"texts": ["s3://sandyard"]}, 422),
        ({"texts": "s3://sandyard/x"}, 422),
        ({"texts": ["s3://sandyard/agent-outputs/default/direct/x"] * 10_000}, 422),
        ({"texts": ["s3://other-bucket/agent-outputs/default/direct/x"]}, 403),
        ({"texts": ["s3://sandyard/agent-outputs/somebody-else/direct/x"]}, 403),
        ({"texts": ["s3://sandyard/agent-outputs/default/direct/not-there"]}, 404),
    ],
)
async def test_files_are_held_to_the_rules(gateway: Platform, files: Any, status: int) -> None:
    one = call(KIT, "read_inputs") | {"inputs": {"files": files}}
    reply = await run(gateway, one)
    assert reply.status_code == status, reply.text
    assert reply.json()["detail"]["error_code"] in {"VALIDATION_ERROR", "PERMISSION_DENIED", "NOT_FOUND"}


@pytest.mark.promise("gateway.partial", "gateway.batch")
async def test_a_batch_fails_in_parts_and_answers_in_order(gateway: Platform) -> None:
    calls = [
        call(KIT, "nap", {"seconds": 0.3}),
        call("not-there", "add"),
        call(KIT, "boom"),
        call(KIT, "add"),
        call(KIT, "add", {"a": 1}),
        call(KIT, "count", {"upto": 2}),
    ]
    reply = await run(gateway, *calls, headers={"Accept": "text/event-stream"})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    answer = reply.json()
    assert answer["status"] == "PARTIAL_SUCCESS"
    codes = [item["error"] and item["error"]["error_code"] for item in answer["results"]]
    assert codes == [None, "NOT_FOUND", "FUNCTION_ERROR", "VALIDATION_ERROR", None, None]
    assert answer["results"][1]["error"]["prefab_id"] == "not-there"
    assert answer["results"][3]["error"]["pointer"] == "/calls/3/inputs/parameters"
    assert answer["results"][4]["output"]["output"] == {"sum": 3}
    assert answer["results"][5]["output"]["output"]["content"] == "0 1 "
    assert [item["status"] for item in answer["results"]] == ["SUCCESS", "FAILED", "FAILED", "FAILED", "SUCCESS", "SUCCESS"]


@pytest.mark.promise("gateway.batch")
async def test_the_calls_of_a_batch_run_side_by_side(gateway: Platform) -> None:
    await result(gateway, KIT, "add", {"a": 1})
    began = time.monotonic()
    answer = (await run(gateway, *[call(KIT, "nap", {"seconds": 1.0})] * 8)).json()
    assert answer["status"] == "COMPLETED"
    assert time.monotonic() - began < 5, "eight naps of a second, one after the other, would take eight"


@pytest.mark.promise("gateway.preflight_first")
async def test_everything_is_checked_before_anything_runs(gateway: Platform) -> None:
    malformed = {"calls": [call(KIT, "set_mark", {"mark": "must-not-run"}), {"prefab_id": KIT}]}
    detail(await gateway.api.post("/v1/run", json=malformed), 422, "VALIDATION_ERROR")
    found = await result(gateway, KIT, "marks")
    assert "must-not-run" not in found["output"]["output"]["marks"]


@pytest.mark.promise("gateway.failures")
@pytest.mark.parametrize(
    ("name", "parameters", "code", "says"),
    [
        ("boom", {"message": "told so"}, "FUNCTION_ERROR", "ValueError: told so"),
        ("leave", {"code": 3}, "WORKER_DIED", "exit code 3"),
        ("leave", {"code": 0}, "WORKER_DIED", "exit code 0"),
        ("crash", None, "WORKER_DIED", "signal 11"),
        ("garbage", None, "WORKER_DIED", ""),
        ("hang_up", None, "WORKER_DIED", ""),
        ("kill_parent", None, "WORKER_DIED", ""),
        ("wrong", {"kind": "list"}, "OUTPUT_INVALID", "must return a dict"),
        ("wrong", {"kind": "none"}, "OUTPUT_INVALID", "must return a dict"),
        ("wrong", {"kind": "nan"}, "OUTPUT_INVALID", ""),
        ("wrong", {"kind": "bytes"}, "OUTPUT_INVALID", ""),
        ("wrong", {"kind": "cycle"}, "OUTPUT_INVALID", ""),
        ("wrong", {"kind": "surrogate"}, "OUTPUT_INVALID", ""),
        ("large", {"size": 9 * 2**20}, "OUTPUT_TOO_LARGE", ""),
    ],
)
async def test_what_goes_wrong_in_a_function_is_a_failed_result(
    gateway: Platform, name: str, parameters: dict[str, Any] | None, code: str, says: str
) -> None:
    found = await result(gateway, KIT, name, parameters)
    assert found["status"] == "FAILED"
    assert found["output"] is None
    assert found["error"]["error_code"] == code, found
    assert says in found["error"]["message"]
    again = await result(gateway, KIT, "add", {"a": 1})
    assert again["output"]["output"] == {"sum": 3}, again


@pytest.mark.promise("gateway.failures")
async def test_a_failure_shows_what_the_function_printed(gateway: Platform) -> None:
    found = await result(gateway, KIT, "boom")
    assert "before the end" in found["error"]["log"]
    assert (await result(gateway, KIT, "crash"))["error"]["log"] == "about to crash\n"


@pytest.mark.promise("gateway.isolated_calls")
async def test_calls_see_nothing_of_each_other(gateway: Platform) -> None:
    reply = await run(gateway, *[call(KIT, "where")] * 6)
    seen = [item["output"]["output"] for item in reply.json()["results"]]
    assert len({item["cwd"] for item in seen}) == 6
    assert len({item["pid"] for item in seen}) == 6
    assert len({item["random"] for item in seen}) == 6
    assert all(item["state"] == {} and item["left"] is None for item in seen)


@pytest.mark.promise("gateway.isolated_calls")
async def test_nothing_of_a_call_is_left(gateway: Platform) -> None:
    await result(gateway, KIT, "write_files", {"names": ["a", "b/c"]})

    async def gone() -> bool:
        """Whether there are but this call's directory and those of the two processes that wait for the next calls."""
        return len((await result(gateway, KIT, "where"))["output"]["output"]["calls"]) <= 3

    async with asyncio.timeout(10):
        while not await gone():  # noqa: ASYNC110 (the directory is removed after the answer)
            await asyncio.sleep(0.05)


@pytest.mark.promise("gateway.outputs", "gateway.inputs")
async def test_files_go_out_of_one_call_and_into_another(gateway: Platform) -> None:
    made = await result(gateway, KIT, "write_files", {"names": ["same.txt", "below/same.txt", "named/own.txt"]})
    files = made["output"]["files"]
    assert len(files["output"]) == 2
    assert len(files["named"]) == 1
    assert all(url.startswith("s3://") for urls in files.values() for url in urls)
    read = await result(gateway, KIT, "read_inputs", files={"texts": [*files["output"], files["output"][0]], "more": files["named"]})
    output = read["output"]["output"]
    assert output["texts"].count("content of below/same.txt") == 2
    assert "content of named/own.txt" in output["texts"]
    assert all(name.startswith(("data/inputs/texts/00", "data/inputs/more/00")) for name in output["names"])


@pytest.mark.promise("gateway.outputs")
async def test_only_plain_files_are_returned(gateway: Platform) -> None:
    found = await result(gateway, KIT, "tricks")
    assert len(found["output"]["files"]["output"]) == 1
    assert "good.txt" in found["output"]["files"]["output"][0]
    told = " ".join(found["output"]["warnings"])
    for name in ("link", "directory-link", "hard", "fifo", "socket", "new\\nline"):
        assert f"'{name}' was left out" in told, told


@pytest.mark.promise("gateway.timeout")
async def test_a_call_that_goes_on_is_ended_with_all_that_it_started(gateway: Platform) -> None:
    found = await result(gateway, KIT, "stubborn", {"seconds": 20, "mark": "stubborn"})
    assert (found["error"]["error_code"], found["error"]["log"]) == ("TIMEOUT", "I stay\n")
    assert "8 seconds" in found["error"]["message"]

    async def gone() -> bool:
        return (await result(gateway, KIT, "processes"))["output"]["output"]["strangers"] == 0

    async with asyncio.timeout(15):
        while not await gone():  # noqa: ASYNC110 (the sandbox ends them after the answer)
            await asyncio.sleep(0.2)
