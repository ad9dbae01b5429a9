"""One agent process, one call: kinds of functions, envelopes, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from support.agents import serving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

HEAD = "from ppio_sandbox.agent_runtime import AgentRuntimeApp, RequestContext, RuntimeConfig, PingStatus\napp = AgentRuntimeApp()\n"
RUN = "\napp.run()\n"

ONE_ANSWER = {
    "plain": "@app.entrypoint\ndef agent(request):\n    return {'got': request}\n",
    "plain with context": "@app.entrypoint\ndef agent(request, context):\n    return {'got': request, 'sandbox': context.sandbox_id}\n",
    "async": "@app.entrypoint\nasync def agent(request):\n    return {'got': request}\n",
    "async with context": "@app.entrypoint\nasync def agent(request: dict, c: RequestContext):\n    return {'got': request, 'sandbox': c.sandbox_id}\n",
    "keyword context": "@app.entrypoint()\nasync def agent(request, *, context):\n    return {'got': request, 'sandbox': context.sandbox_id}\n",
    "a default is left alone": "@app.entrypoint\ndef agent(request, model='m'):\n    assert model == 'm'\n    return {'got': request}\n",
    "callable object": "class Agent:\n    async def __call__(self, request):\n        return {'got': request}\napp.entrypoint(Agent())\n",
    "bound method": "class Agent:\n    def answer(self, request):\n        return {'got': request}\napp.entrypoint(Agent().answer)\n",
    "callable object with context": "class Agent:\n    def __call__(self, request, ctx):\n        return {'got': request, 'sandbox': ctx.sandbox_id}\napp.entrypoint(Agent())\n",
    "partial of an async function": "import functools\nasync def f(extra, request, context):\n    return {'got': request, 'sandbox': context.sandbox_id}\napp.entrypoint(functools.partial(f, 1))\n",
    "any arguments": "@app.entrypoint\ndef agent(*args, **kwargs):\n    return {'got': args[0]}\n",
    "awaitable of a plain function": "async def later(request):\n    return {'got': request}\n@app.entrypoint\ndef agent(request):\n    return later(request)\n",
    "partial": "import functools\ndef f(extra, request):\n    return {'got': request}\napp.entrypoint(functools.partial(f, 1))\n",
}
STREAMS = {
    "generator": "@app.entrypoint\ndef agent(request):\n    yield 'a'\n    yield {'n': 1}\n",
    "generator with context": "@app.entrypoint\ndef agent(request, context):\n    yield 'a'\n    yield {'n': len(context.sandbox_id)}\n",
    "async generator": "@app.entrypoint\nasync def agent(request):\n    yield 'a'\n    yield {'n': 1}\n",
    "async generator with context": "@app.entrypoint\nasync def agent(request, context):\n    yield 'a'\n    yield {'n': len(context.sandbox_id)}\n",
    "callable object": "class Agent:\n    def __call__(self, request):\n        yield 'a'\n        yield {'n': 1}\napp.entrypoint(Agent())\n",
    "own async iterator": "class Words:\n    def __init__(self):\n        self.left = ['a', {'n': 1}]\n    def __aiter__(self):\n        return self\n    async def __anext__(self):\n        if not self.left:\n            raise StopAsyncIteration\n        return self.left.pop(0)\n@app.entrypoint\nasync def agent(request):\n    return Words()\n",
    "a generator that is returned": "@app.entrypoint\ndef agent(request):\n    return (chunk for chunk in ('a', {'n': 1}))\n",
}


@pytest.mark.promise("agent.kinds", "agent.envelope")
@pytest.mark.parametrize("kind", ONE_ANSWER)
async def test_functions_answer_in_an_envelope(kind: str, tmp_path: Path) -> None:
    async with serving(HEAD + ONE_ANSWER[kind] + RUN, tmp_path) as agent:
        answer = await agent.post({"prompt": "hello"}, x_sandbox_id="s1", x_request_id="r-1")
    result = answer.json["result"]
    assert answer.status == 200
    assert result["got"] == {"prompt": "hello", "query": "hello"}
    assert result.get("sandbox", "s1") == "s1"
    assert {**answer.json, "duration": 0} == {
        "result": result,
        "status": "success",
        "duration": 0,
        "metadata": {"request_id": "r-1"},
        "error": None,
    }
    assert 0 < answer.json["duration"] < 20
    assert answer.headers["x-request-id"] == "r-1"


@pytest.mark.promise("agent.kinds", "agent.events")
@pytest.mark.parametrize("kind", STREAMS)
async def test_generators_stream(kind: str, tmp_path: Path) -> None:
    async with serving(HEAD + STREAMS[kind] + RUN, tmp_path) as agent:
        answer = await agent.post({}, x_sandbox_id="s")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.body == b'data: "a"\n\ndata: {"n":1}\n\n'


@pytest.mark.promise("agent.stream-wish")
async def test_the_caller_may_want_one_answer_or_a_stream(tmp_path: Path) -> None:
    source = "@app.entrypoint\nasync def agent(request):\n    return words() if request['n'] else 'whole'\nasync def words():\n    yield 'one '\n    yield 'two'\n"
    async with serving(HEAD + source + RUN, tmp_path) as agent:
        collected = await agent.post({"n": 1, "stream": False})
        single = await agent.post({"n": 0, "stream": True})
        whole = await agent.post({"n": 0})
        streamed = await agent.post({"n": 1})
    assert collected.json["result"] == "one two"
    assert [event.data for event in single.events] == ['"whole"']
    assert whole.json["result"] == "whole"
    assert [event.data for event in streamed.events] == ['"one "', '"two"']


@pytest.mark.promise("agent.iterators")
async def test_other_iterators_are_collected_and_responses_passed_through(tmp_path: Path) -> None:
    source = """
from starlette.responses import StreamingResponse
@app.entrypoint
async def agent(request):
    match request["how"]:
        case "map": return map(str, (1, 2))
        case "zip": return zip("ab", (1, 2))
        case "response": return StreamingResponse(iter(("own ", "words")), 203, {"x-own": "yes"})
"""
    async with serving(HEAD + source + RUN, tmp_path) as agent:
        assert (await agent.post({"how": "map"})).json["result"] == ["1", "2"]
        assert (await agent.post({"how": "zip"})).json["result"] == [["a", 1], ["b", 2]]
        own = await agent.post({"how": "response"}, x_request_id="r")
    assert (own.status, own.body, own.headers["x-own"], own.headers["x-request-id"]) == (203, b"own words", "yes", "r")


@pytest.mark.promise("agent.mirror")
@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ("hi", {"prompt": "hi", "query": "hi"}),
        ({"query": "q"}, {"query": "q", "prompt": "q"}),
        ({"prompt": "p", "query": "q"}, {"prompt": "p", "query": "q"}),
        ({"data": {"n": 1}}, {"data": {"n": 1}}),
        ([1, 2], [1, 2]),
    ],
)
async def test_prompt_and_query_are_the_same(body: object, seen: object, tmp_path: Path) -> None:
    async with serving(HEAD + "@app.entrypoint\nasync def agent(request):\n    return request\n" + RUN, tmp_path) as agent:
        assert (await agent.post(orjson.dumps(body))).json["result"] == seen


FAILING = """
import asyncio, sys
@app.entrypoint
async def agent(request):
    match request["how"]:
        case "raise": raise ValueError("no such city")
        case "exit": sys.exit(3)
        case "cancel": raise asyncio.CancelledError
        case "value": return {"rows": [1, object()]}
        case "early": return early()
        case "midway": return midway()
        case "bad chunk": return bad_chunk()
async def early():
    raise KeyError("k")
    yield
async def midway():
    yield 1
    raise ValueError("broke")
async def bad_chunk():
    yield 1
    yield object()
"""


@pytest.mark.promise("agent.failures")
async def test_what_the_agent_raises_is_told(tmp_path: Path) -> None:
    async with serving(HEAD + FAILING + RUN, tmp_path) as agent:
        answers = {how: await agent.post({"how": how}) for how in ("raise", "exit", "cancel", "value", "early")}
        assert (await agent.get("/ping")).status == 200
    assert {how: answer.status for how, answer in answers.items()} == dict.fromkeys(answers, 500)
    told = {how: (answer.json["status"], answer.json["error"], answer.json["error_type"]) for how, answer in answers.items()}
    assert told["raise"] == ("error", "no such city", "ValueError")
    assert told["exit"] == ("error", "3", "SystemExit")
    assert told["cancel"] == ("error", "CancelledError", "CancelledError")
    assert told["value"][1].startswith("result['rows'][1] is of type object, which has no form in JSON")
    assert told["early"] == ("error", "'k'", "KeyError")
    assert all(answer.json["metadata"]["request_id"] == answer.headers["x-request-id"] for answer in answers.values())


@pytest.mark.promise("agent.stream-failures")
@pytest.mark.parametrize(("how", "kind"), [("midway", "ValueError"), ("bad chunk", "NotJsonError")])
async def test_a_failure_in_a_stream_is_its_last_event(how: str, kind: str, tmp_path: Path) -> None:
    async with serving(HEAD + FAILING + RUN, tmp_path) as agent:
        answer = await agent.post({"how": how})
    first, last = answer.events
    assert (answer.status, first.data, first.event, last.event) == (200, "1", "message", "error")
    assert orjson.loads(last.data)["error_type"] == kind
    assert orjson.loads(last.data)["status"] == "error"


@pytest.mark.promise("agent.refusals")
async def test_what_cannot_be_served_is_refused_in_json(tmp_path: Path) -> None:
    source = "app = AgentRuntimeApp(RuntimeConfig(max_request_size=1000))\n" + ONE_ANSWER["async"]
    async with serving(HEAD + source + RUN, tmp_path) as agent:
        broken = await agent.post(b'{"prompt": ')
        empty = await agent.post(b"")
        large = await agent.post(b'"' + b"x" * 300_000 + b'"')
        fitting = await agent.post(b'"' + b"x" * 998 + b'"')
        method = await agent.get("/invocations")
        path = await agent.get("/nothing")
    replies = (broken, empty, large, fitting, method, path)
    assert [reply.status for reply in replies] == [400, 400, 413, 200, 405, 404]
    refused = [reply.json for reply in replies if reply is not fitting]
    assert [body["error_type"] for body in refused] == ["invalid_json", "invalid_json", "too_large", "method_not_allowed", "not_found"]
    assert all({"result", "status", "duration", "error"} <= body.keys() and body["status"] == "error" for body in refused)
    assert method.headers["allow"] == "POST"


@pytest.mark.promise("agent.about")
async def test_an_agent_says_what_it_is(tmp_path: Path) -> None:
    async with serving(HEAD + STREAMS["generator"] + RUN, tmp_path) as agent:
        about = await agent.get("/")
        assert (await agent.get("/", "HEAD")).body == b""
    assert about.json["entrypoint"] == "agent"
    assert about.json["streams"] is True


@pytest.mark.promise("agent.ping")
async def test_an_agent_is_healthy_while_it_runs(tmp_path: Path) -> None:
    async with serving(HEAD + ONE_ANSWER["plain"] + RUN, tmp_path) as agent:
        first, second = await agent.get("/ping"), await agent.get("/ping")
    assert (first.status, first.json["status"]) == (200, "Healthy")
    assert first.json["time_of_last_update"] == second.json["time_of_last_update"]


@pytest.mark.promise("agent.ping-check")
@pytest.mark.parametrize(
    ("check", "status", "word"),
    [
        ("def check(): return {'status': 'healthy', 'dependencies': ['db']}", 200, "Healthy"),
        ("def check(): return PingStatus.HEALTHY_BUSY", 200, "HealthyBusy"),
        ("async def check(): return {'status': 'healthy_busy', 'dependencies': ['db']}", 200, "HealthyBusy"),
        ("async def check(): return True", 200, "Healthy"),
        ("def check(): return False", 503, "Unhealthy"),
        ("def check(): return {'status': 'unhealthy', 'dependencies': ['db']}", 503, "Unhealthy"),
        ("def check(): return {'dependencies': ['db']}", 503, "Unhealthy"),
        ("async def check(): raise OSError('database is down')", 503, "Unhealthy"),
    ],
)
async def test_an_own_check_is_never_silently_healthy(check: str, status: int, word: str, tmp_path: Path) -> None:
    async with serving(f"{HEAD}{ONE_ANSWER['plain']}@app.ping\n{check}\n{RUN}", tmp_path) as agent:
        ping = await agent.get("/ping")
    assert (ping.status, ping.json["status"]) == (status, word)
    assert ping.json.get("dependencies", ["db"]) == ["db"]
