"""A server that obeys its settings: limits of time and size, browsers, figures, addresses, rates, logs."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import anyio
import orjson
import pytest

from support.agents import serving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

HEAD = "import asyncio, time, threading\nfrom ppio_sandbox.agent_runtime import AgentRuntimeApp, RuntimeConfig\n"
ECHO = "\n@app.entrypoint\nasync def agent(request):\n    return request\napp.run()\n"
MIDDLEWARE = "@app.middleware\nasync def around(request, call_next):\n    return await call_next(request)\n"

SLOW = {
    "async": """
@app.entrypoint
async def agent(request):
    try:
        await asyncio.sleep(60)
    finally:
        print("stopped")
""",
    "async that swallows": """
@app.entrypoint
async def agent(request):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("stopped")
        return "late"
""",
    "collected": """
@app.entrypoint
async def agent(request):
    try:
        yield 1
        await asyncio.sleep(60)
    finally:
        print("stopped")
""",
    "no first chunk": """
@app.entrypoint
async def agent(request):
    try:
        await asyncio.sleep(60)
        yield 1
    finally:
        print("stopped")
""",
}


@pytest.mark.promise("agent.timeout")
@pytest.mark.parametrize("around", ["", MIDDLEWARE], ids=["bare", "middleware"])
@pytest.mark.parametrize("kind", SLOW)
async def test_work_over_its_time_is_cancelled_and_told(kind: str, around: str, tmp_path: Path) -> None:
    body = {"stream": False} if kind == "collected" else {}
    async with serving(HEAD + "app = AgentRuntimeApp(RuntimeConfig(timeout=1))\n" + around + SLOW[kind] + "app.run()\n", tmp_path) as agent:
        answer = await agent.post(body)
        await agent.says("stopped")
        assert (await agent.get("/ping")).status == 200
    assert (answer.status, answer.json["error_type"], answer.json["status"]) == (504, "agent_timeout", "error")
    assert "within 1 s" in answer.json["error"]
    assert 0.9 < answer.json["duration"] < 10


@pytest.mark.promise("agent.timeout")
@pytest.mark.parametrize(("told", "own", "limit"), [(0.2, 30, "0.2 s"), (60, 1, "1 s")])
async def test_the_smaller_of_both_limits_wins(told: float, own: int, limit: str, tmp_path: Path) -> None:
    source = HEAD + "app = AgentRuntimeApp()\n" + SLOW["async"] + "app.run()\n"
    async with serving(source, tmp_path, PPIO_AGENT_TIMEOUT=str(own)) as agent:
        answer = await agent.post({"timeout": told})
    assert (answer.status, answer.json["error"]) == (504, f"the agent did not answer within {limit}")


@pytest.mark.promise("agent.timeout")
async def test_a_stream_over_its_time_ends_with_an_error(tmp_path: Path) -> None:
    source = """
app = AgentRuntimeApp()
@app.entrypoint
async def agent(request):
    yield "first"
    await asyncio.sleep(60)
app.run()
"""
    async with serving(HEAD + source, tmp_path) as agent:
        first, last = (await agent.post({"timeout": 0.3})).events
    assert (first.data, last.event, orjson.loads(last.data)["error_type"]) == ('"first"', "error", "agent_timeout")


@pytest.mark.promise("agent.timeout")
async def test_a_thread_that_cannot_be_stopped_is_reported(tmp_path: Path) -> None:
    source = """
go = threading.Event()
app = AgentRuntimeApp()
@app.entrypoint
def agent(request):
    if "go" in request:
        go.set()
    assert go.wait(20)
    print("gone on")
app.run()
"""
    async with serving(HEAD + source, tmp_path) as agent:
        answer = await agent.post({"timeout": 0.2})
        during = (await agent.get("/metrics")).body.decode()
        await agent.post({"go": 1})
        await agent.says("gone on")
    assert answer.status == 504
    assert "\nagent_threads_abandoned 1\n" in during


@pytest.mark.promise("agent.hanging")
@pytest.mark.parametrize("leaving", [True, False], ids=["the client leaves", "the time is over"])
async def test_code_that_hangs_while_it_ends_is_cancelled_again(leaving: bool, tmp_path: Path) -> None:
    source = """
import ppio_sandbox.agent_runtime.runtime.exchange as exchange
exchange.END_SECONDS = 0.2
app = AgentRuntimeApp()
@app.entrypoint
async def agent(request):
    try:
        print("started")
        yield 1
        await asyncio.sleep(60)
    finally:
        try:
            await asyncio.sleep(60)
        finally:
            print("stopped")
app.run()
"""
    async with serving(HEAD + source, tmp_path) as agent:
        if leaving:
            async with agent.call({}):
                await agent.says("started")
        else:
            assert (await agent.post({"timeout": 0.2})).events[-1].event == "error"
        await agent.says("stopped")


@pytest.mark.promise("agent.size")
@pytest.mark.parametrize("around", ["", MIDDLEWARE], ids=["bare", "middleware"])
async def test_a_chunked_body_is_refused_before_it_is_whole(around: str, tmp_path: Path) -> None:
    source = HEAD + "app = AgentRuntimeApp(RuntimeConfig(max_request_size=1000))\n" + around + ECHO
    async with serving(source, tmp_path) as agent, await anyio.connect_tcp("127.0.0.1", agent.port) as stream:
        await stream.send(b"POST /invocations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"100\r\n" + b"x" * 256 + b"\r\n"
        with anyio.fail_after(20):
            for _ in range(4):
                await stream.send(chunk)
            answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.promise("agent.cors")
async def test_browsers_of_allowed_origins_may_call(tmp_path: Path) -> None:
    source = HEAD + "app = AgentRuntimeApp(RuntimeConfig(cors_origins=['https://mine.example']))\n" + ECHO
    async with serving(source, tmp_path) as agent:
        mine = await agent.post({"a": 1}, Origin="https://mine.example")
        other = await agent.post({"a": 1}, Origin="https://other.example")
        broken = await agent.post(b"{", Origin="https://mine.example")
        asked = {"Origin": "https://mine.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-own"}
        async with agent.call(method="OPTIONS", **asked) as call:
            preflight = await call.answer()
    assert (mine.json["result"], mine.headers["access-control-allow-origin"]) == ({"a": 1}, "https://mine.example")
    assert "access-control-allow-origin" not in other.headers
    assert (broken.status, broken.headers["access-control-allow-origin"]) == (400, "https://mine.example")
    assert (preflight.status, "POST" in preflight.headers["access-control-allow-methods"]) == (200, True)
    assert "x-own" in preflight.headers["access-control-allow-headers"]


@pytest.mark.promise("agent.cors")
async def test_every_origin_may_call_by_default_and_none_if_there_is_none(tmp_path: Path) -> None:
    async with serving(HEAD + "app = AgentRuntimeApp()\n" + ECHO, tmp_path) as agent:
        assert (await agent.post({}, Origin="https://a.example")).headers["access-control-allow-origin"] == "*"
    async with serving(HEAD + "app = AgentRuntimeApp(RuntimeConfig(cors_origins=[]))\n" + ECHO, tmp_path) as agent:
        assert "access-control-allow-origin" not in (await agent.post({}, Origin="https://a.example")).headers


METERED = """
@app.entrypoint
async def agent(request):
    if request["how"] == "raise":
        raise ValueError("no")
    return words() if request["how"] == "stream" else 1
async def words():
    yield 1
    raise ValueError("no")
app.run()
"""


@pytest.mark.promise("agent.metrics")
async def test_metrics_count_invocations_by_how_they_ended(tmp_path: Path) -> None:
    async with serving(HEAD + "app = AgentRuntimeApp()\n" + METERED, tmp_path) as agent:
        for how in ("answer", "answer", "raise", "stream"):
            await agent.post({"how": how})
        await agent.post(b"{")
        told = await agent.get("/metrics")
    text = told.body.decode()
    assert told.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    counts = dict(re.findall(r'^agent_invocations_total\{status="(\w+)"\} (\d+)$', text, re.MULTILINE))
    assert counts == {"success": "2", "error": "2", "refused": "1"}
    assert 'agent_invocation_duration_seconds_bucket{le="+Inf"} 5\n' in text
    assert "agent_invocation_duration_seconds_count 5\n" in text
    assert "agent_invocations_in_progress 0\n" in text


@pytest.mark.promise("agent.metrics")
async def test_without_metrics_there_is_no_such_path(tmp_path: Path) -> None:
    async with serving(HEAD + "app = AgentRuntimeApp(RuntimeConfig(enable_metrics=False))\n" + ECHO, tmp_path) as agent:
        assert (await agent.get("/metrics")).status == 404


@pytest.mark.promise("agent.no-middleware")
async def test_middlewares_can_be_switched_off(tmp_path: Path) -> None:
    source = (
        "app = AgentRuntimeApp(RuntimeConfig(enable_middleware=False))\n@app.middleware\nasync def no(request, call_next):\n    return {}\n"
    )
    async with serving(HEAD + source + ECHO, tmp_path) as agent:
        assert (await agent.post({"a": 1})).json["result"] == {"a": 1}


@pytest.mark.promise("agent.rates")
async def test_too_many_requests_are_told_when_to_come_back(tmp_path: Path) -> None:
    source = HEAD + "app = AgentRuntimeApp(RuntimeConfig(rate_limit=2, rate_limit_window=30))\n" + ECHO
    async with serving(source, tmp_path) as agent:
        answers = [await agent.post({}, x_sandbox_id="one") for _ in range(3)]
        other = await agent.post({}, x_sandbox_id="two")
    assert [answer.status for answer in (*answers, other)] == [200, 200, 429, 200]
    assert answers[2].json["error_type"] == "rate_limited"
    assert 25 < int(answers[2].headers["retry-after"]) <= 30


@pytest.mark.promise("agent.address")
@pytest.mark.parametrize(
    ("made", "run"),
    [
        ("AgentRuntimeApp(RuntimeConfig(port=1))", "app.run(port=0, host='127.0.0.1')"),
        ("AgentRuntimeApp(RuntimeConfig(port=0, host='127.0.0.1'))", "app.run()"),
        ("AgentRuntimeApp(RuntimeConfig(port=0))", "app.run(host='127.0.0.1')"),
    ],
)
async def test_an_argument_goes_before_a_field_and_that_before_the_environment(made: str, run: str, tmp_path: Path) -> None:
    source = HEAD + f"app = {made}\n" + ECHO.replace("app.run()", run)
    async with serving(source, tmp_path, PPIO_AGENT_HOST="192.0.2.1", PPIO_AGENT_PORT="1") as agent:
        assert (await agent.get("/ping")).status == 200


@pytest.mark.promise("agent.logs")
async def test_log_lines_are_json_with_the_ids_of_the_request(tmp_path: Path) -> None:
    source = """
import sys
log = open(%r, "w", buffering=1)
class Tee:
    flush = log.flush
    def write(self, text):
        log.write(text)
        sys.__stderr__.write(text)
    def isatty(self):
        return False
sys.stderr = Tee()
app = AgentRuntimeApp(debug=True)
@app.entrypoint
async def agent(request):
    print("printed")
    raise ValueError("no such city")
app.run()
"""
    path = tmp_path / "log"
    async with serving(HEAD + source % str(path), tmp_path) as agent:
        await agent.post({}, x_sandbox_id="s-1", x_request_id="r-1")
        await agent.says("printed")
    failure, request = (orjson.loads(line) for line in path.read_text().splitlines() if line.startswith("{"))
    assert failure.items() >= {"level": "ERROR", "requestId": "r-1", "sessionId": "s-1", "errorType": "ValueError"}.items()
    assert failure.items() >= {"errorMessage": "no such city", "logger": "ppio_sandbox.agent_runtime"}.items()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", failure["timestamp"])
    assert any("in agent" in line for line in failure["stackTrace"])
    assert ":agent:" in failure["location"]
    assert request["message"].startswith("POST /invocations: error after 0.")
    assert request["requestId"] == "r-1"


@pytest.mark.promise("agent.heartbeats")
@pytest.mark.parametrize("around", ["", MIDDLEWARE], ids=["bare", "middleware"])
async def test_a_silent_stream_sends_comments(around: str, tmp_path: Path) -> None:
    source = """
app = AgentRuntimeApp(RuntimeConfig(heartbeat=0.1))
go = asyncio.Event()
@app.entrypoint
async def agent(request):
    if "go" in request:
        go.set()
        return
    yield "first"
    await go.wait()
    yield "second"
"""
    async with serving(HEAD + source + around + "app.run()\n", tmp_path) as agent, agent.call({}) as call:
        began = time.monotonic()
        seen = await call.read_until(b": keep-alive\n\n\r\ne\r\n: keep-alive")
        assert time.monotonic() - began > 0.19
        assert b"second" not in seen
        await agent.post({"go": 1})
        answer = await call.answer()
    assert [event.data for event in answer.events] == ['"first"', '"second"']


@pytest.mark.promise("agent.heartbeats")
@pytest.mark.parametrize("ending", ["yield 'late'", "raise ValueError('late')\n    yield"], ids=["chunk", "error"])
async def test_a_stream_that_begins_late_begins_with_a_comment(ending: str, tmp_path: Path) -> None:
    source = f"""
app = AgentRuntimeApp(RuntimeConfig(heartbeat=0.1))
go = asyncio.Event()
@app.entrypoint
async def agent(request):
    if "go" in request:
        go.set()
        return
    await go.wait()
    {ending}
app.run()
"""
    async with serving(HEAD + source, tmp_path) as agent, agent.call({}) as call:
        head = await call.read_until(b": keep-alive\n\n")
        await agent.post({"go": 1})
        (event,) = (await call.answer()).events
    assert b"text/event-stream" in head
    assert "late" in event.data
    assert (event.event == "error") == ("raise" in ending)
