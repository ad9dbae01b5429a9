"""AgentCore's container contract, beside the real package: the same calls, the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from support.agents import Agent, close_code, serving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

HEAD = "import asyncio, sys\nfrom ppio_sandbox.agent_runtime import AgentRuntimeApp\napp = AgentRuntimeApp(debug='debug' in sys.argv)\n"
SESSION = {"X_Amzn_Bedrock_AgentCore_Runtime_Session_Id": "session-1"}

SOURCE = """
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from dataclasses import dataclass

@dataclass
class Record:
    name: str

@app.entrypoint
async def agent(payload, context):
    match payload:
        case {"how": "context"}:
            return {"session": context.session_id, "headers": context.request_headers}
        case {"how": "raise"}: raise ValueError("no such city")
        case {"how": "details"}: raise HTTPException(422, {"field": "city", "why": ["unknown"]})
        case {"how": "teapot"}: raise HTTPException(418, "teapot")
        case {"how": "response"}: return JSONResponse({"own": 1}, 404)
        case {"how": "dataclass"}: return Record("n")
        case {"how": "none"}: return None
        case {"how": "stream"}: return words()
        case other: return other

async def words():
    yield {"n": 1}
    yield "two"
    raise RuntimeError("broke")
"""
CALLS: list[object] = [
    {"how": "context"},
    {"how": "raise"},
    {"how": "details"},
    {"how": "teapot"},
    {"how": "response"},
    {"how": "dataclass"},
    {"how": "none"},
    {"how": "stream"},
    {"prompt": "unchanged", "stream": True, "timeout": 0.0001},
    "text",
    [1, 2],
]
HEADERS = {
    **SESSION,
    "Authorization": "Bearer mine",
    "X_Amzn_Bedrock_AgentCore_Runtime_Custom_Own": "own",
    "X_Amzn_Bedrock_AgentCore_Runtime_User_Id": "user",
    "X_Amz_Date": "now",
    "Cookie": "no=1",
    "traceparent": "00-trace",
    "Content_Type": "application/json",
}
MODEL = """
import socket, sys, threading
from bedrock_agentcore import BedrockAgentCoreApp
app = BedrockAgentCoreApp(debug='debug' in sys.argv)
"""
MODEL_RUN = """
import uvicorn
listener = socket.create_server(("127.0.0.1", 0))
sys.stderr.write(f"the agent listens on http://127.0.0.1:{listener.getsockname()[1]}\\n")
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listener])
"""


async def answers(agent: Agent) -> list[tuple[int, str, bytes]]:
    replies = [await agent.post(call, **HEADERS) for call in CALLS]
    return [(reply.status, reply.headers["content-type"], reply.body) for reply in replies]


@pytest.mark.promise("agent.agentcore")
async def test_answers_are_those_of_the_real_package(tmp_path: Path) -> None:
    async with serving(HEAD + SOURCE + "app.run()\n", tmp_path) as agent:
        ours = await answers(agent)
    async with serving(MODEL + SOURCE + MODEL_RUN, tmp_path, PYTHONWARNINGS="default") as agent:
        model = await answers(agent)
    for mine, theirs in zip(ours, model, strict=True):
        assert mine[:2] == theirs[:2]
        assert values(mine[2]) == values(theirs[2])


def values(body: bytes) -> list[object]:
    """Return the JSON values of an answer, or of each event of a stream, whatever their spacing."""
    return [orjson.loads(part.removeprefix(b"data: ")) for part in body.split(b"\n\n") if part]


@pytest.mark.promise("agent.agentcore")
async def test_the_context_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    source = """
@app.entrypoint
def agent(payload, context):
    return [context.session_id, context.sandbox_id, context.request_id, context.workload_access_token, context.oauth2_callback_url]
app.run()
"""
    headers = {"X_Amzn_Bedrock_AgentCore_Runtime_Request_Id": "r-1", "WorkloadAccessToken": "token", "OAuth2CallbackUrl": "http://back"}
    async with serving(HEAD + source, tmp_path) as agent:
        answer = await agent.post({}, x_sandbox_id="box", **SESSION, **headers)
    assert answer.json == ["session-1", "box", "r-1", "token", "http://back"]


@pytest.mark.promise("agent.agentcore")
async def test_errors_are_told_in_the_contract_s_form(tmp_path: Path) -> None:
    async with serving(HEAD + SOURCE + "app.run()\n", tmp_path) as agent:
        broken = await agent.post(b"{", **SESSION)
        encoded = await agent.post(b'"\xff"', **SESSION)
        plain = await agent.post({"how": "teapot"})
    assert (broken.status, broken.json["error"], set(broken.json)) == (400, "Invalid JSON", {"error", "details"})
    assert (encoded.status, encoded.json["error"]) == (400, "Invalid encoding")
    assert (plain.status, plain.json["error"], plain.json["status"]) == (418, "teapot", "error")


TASKS = """
from ppio_sandbox.agent_runtime import PingStatus
go = asyncio.Event()
numbers = []
kept = set()

@app.async_task
async def work(text):
    await go.wait()
    return text

@app.entrypoint
async def agent(request):
    match request["how"]:
        case "begin": kept.add(asyncio.create_task(work("w")))
        case "end":
            go.set()
            return [await task for task in kept]
        case "add": numbers.append(app.add_async_task("by hand", {"file": "f"}))
        case "complete": return [app.complete_async_task(numbers[0]), app.complete_async_task(numbers[0])]
        case "info": return app.get_async_task_info()
        case "force": app.force_ping_status("HealthyBusy")
        case "clear": app.clear_forced_ping_status()
"""


@pytest.mark.promise("agent.background")
async def test_an_agent_is_busy_while_tracked_work_goes_on(tmp_path: Path) -> None:
    async with serving(HEAD + TASKS + "app.run()\n", tmp_path) as agent:

        async def ask(how: str) -> tuple[Any, str]:
            result = (await agent.post({"how": how})).json["result"]
            return result, (await agent.get("/ping")).json["status"]

        assert await ask("begin") == (None, "HealthyBusy")
        info = (await ask("info"))[0]
        assert info["active_count"] == 1
        assert info["running_jobs"][0].keys() == {"name", "duration"}
        assert info["running_jobs"][0]["name"] == "work"
        assert await ask("end") == (["w"], "Healthy")
        assert await ask("add") == (None, "HealthyBusy")
        assert await ask("complete") == ([True, False], "Healthy")
        assert await ask("force") == (None, "HealthyBusy")
        assert await ask("clear") == (None, "Healthy")


@pytest.mark.promise("agent.background")
async def test_the_agent_s_own_word_goes_before_its_background_work_and_a_forced_one_before_both(tmp_path: Path) -> None:
    own = "@app.ping\ndef check(): return PingStatus.HEALTHY\n"
    async with serving(HEAD + TASKS + own + "app.run()\n", tmp_path) as agent:
        await agent.post({"how": "add"})
        assert (await agent.get("/ping")).json["status"] == "Healthy"
        await agent.post({"how": "force"})
        assert (await agent.get("/ping")).json["status"] == "HealthyBusy"


@pytest.mark.promise("agent.debug-actions")
async def test_debug_actions_are_answered_in_debug_mode_only(tmp_path: Path) -> None:
    async with serving(HEAD + TASKS + "app.run()\n", tmp_path, PPIO_AGENT_DEBUG="true") as agent:

        async def act(action: str) -> tuple[int, Any]:
            answer = await agent.post({"_agent_core_app_action": action})
            return answer.status, answer.json

        status, told = await act("ping_status")
        assert (status, told.keys(), told["status"]) == (200, {"status", "time_of_last_update"}, "Healthy")
        assert await act("job_status") == (200, {"active_count": 0, "running_jobs": []})
        assert await act("force_busy") == (200, {"forced_status": "HealthyBusy"})
        assert (await agent.get("/ping")).json["status"] == "HealthyBusy"
        assert await act("force_healthy") == (200, {"forced_status": "Healthy"})
        assert await act("clear_forced_status") == (200, {"forced_status": "Cleared"})
        assert await act("zzz") == (400, {"error": "Unknown action: zzz"})
    async with serving(HEAD + SOURCE + "app.run()\n", tmp_path) as agent:
        answer = await agent.post({"_agent_core_app_action": "ping_status"})
        assert answer.json["result"]["_agent_core_app_action"] == "ping_status"


SOCKET = """
@app.websocket
async def talk(websocket, context):
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "raise":
            raise ValueError("no")
        await websocket.send_text(f"{text} {context.session_id} {app.context.session_id}")
"""


@pytest.mark.promise("agent.websocket")
async def test_an_agent_may_have_a_websocket(tmp_path: Path) -> None:
    headers = {name.replace("_", "-"): value for name, value in SESSION.items()}
    async with serving(HEAD + SOURCE + SOCKET + "app.run()\n", tmp_path) as agent:
        with anyio.fail_after(20):
            async with connect(f"ws://127.0.0.1:{agent.port}/ws", additional_headers=headers) as socket:
                await socket.send("hello")
                assert await socket.recv() == "hello session-1 session-1"
                await socket.send("raise")
                assert await close_code(socket) == 1011
            async with connect(f"ws://127.0.0.1:{agent.port}/ws") as socket:
                await socket.send("again")
                assert await socket.recv() == "again None None"
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{agent.port}/other")
        assert refused.value.response.status_code == 403
        assert (await agent.get("/ping")).status == 200
