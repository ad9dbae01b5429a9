"""Middlewares around the routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from support.agents import close_code, serving
from support.ingress import ID, TOKEN, yard

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.http11 import Response

pytestmark = pytest.mark.anyio

SOURCE = """
from ppio_sandbox.agent_runtime import AgentRuntimeApp
from starlette.responses import JSONResponse
app = AgentRuntimeApp()

@app.middleware
async def outer(request, call_next):
    if request.url.path == "/own":
        return {"own": "answer"}
    if request.url.path == "/nothing":
        return None
    if request.url.path == "/raises":
        raise LookupError("of the middleware")
    try:
        response = await call_next(request)
    except ValueError as error:
        return JSONResponse({"seen": str(error)}, 418)
    response.headers["x-order"] = response.headers.get("x-order", "") + "outer"
    return response

@app.middleware
async def inner(request, call_next):
    if request.method == "POST" and int(request.headers["content-length"]) in range(10, 1000):
        assert "prompt" in await request.json()
    response = await call_next(request)
    response.headers["x-order"] = "inner "
    return response

@app.entrypoint
async def agent(request):
    if request["prompt"] == "value":
        raise ValueError("bad value")
    if request["prompt"] == "key":
        raise KeyError("bad key")
    return words() if request["prompt"] == "stream" else request["prompt"]

async def words():
    yield 1
    yield 2

app.run()
"""


@pytest.mark.promise("agent.middleware")
async def test_middlewares_see_and_change_everything(tmp_path: Path) -> None:
    async with serving(SOURCE, tmp_path) as agent:
        answer = await agent.post({"prompt": "p"}, x_request_id="r")
        stream = await agent.post({"prompt": "stream"})
        ping = await agent.get("/ping")
        own = await agent.get("/own")
        nothing = await agent.get("/nothing")
        raises = await agent.get("/raises")
        value = await agent.post({"prompt": "value"})
        key = await agent.post({"prompt": "key"})
        missing = await agent.get("/missing")
        broken = await agent.post(b"{")
        large = await agent.post(b'"' + b"x" * 2_000_000 + b'"')
    assert (answer.json["result"], answer.headers["x-order"], answer.headers["x-request-id"]) == ("p", "inner outer", "r")
    assert [event.data for event in stream.events] == ["1", "2"]
    assert ping.headers["x-order"] == "inner outer"
    assert own.json == {"own": "answer"}
    assert (nothing.status, "outer returned nothing" in nothing.json["error"]) == (500, True)
    assert (raises.status, raises.json["error"], raises.json["status"]) == (500, "of the middleware", "error")
    assert (value.status, value.json) == (418, {"seen": "bad value"})
    assert (key.status, key.json["error_type"]) == (500, "KeyError")
    for refused, status, kind in ((missing, 404, "not_found"), (broken, 400, "invalid_json"), (large, 413, "too_large")):
        assert (refused.status, refused.json["error_type"], refused.headers["x-order"]) == (status, kind, "inner outer")


TALKING = """
from ppio_sandbox.agent_runtime import AgentRuntimeApp
from starlette.responses import JSONResponse, StreamingResponse
app = AgentRuntimeApp()

@app.middleware
async def outer(request, call_next):
    try:
        response = await call_next(request)
    except LookupError as error:
        print("seen", error, flush=True)
        return JSONResponse({"seen": str(error)}, 418)
    print(request.method, request.url.path, "ended", response.status_code, flush=True)
    response.headers["x-outer"] = "1"
    return response

@app.middleware
async def guard(request, call_next):
    how = request.query_params.get("how")
    if how == "none":
        return JSONResponse({"why": "no token"}, 401)
    if how == "stream":
        return StreamingResponse(iter([b"no ", b"token"]), 401)
    if how == "raise":
        raise ValueError("of the middleware")
    assert await request.body() == b"" and not await request.is_disconnected()
    request.state.user = how
    return await call_next(request)

@app.websocket
async def talk(websocket, context):
    match websocket.state.user:
        case "early": raise LookupError("early")
        case "mute": return
        case "close": return await websocket.close()
        case "deny": return await websocket.send_denial_response(JSONResponse({"own": 1}, 402))
    await websocket.accept()
    await websocket.send_text(f"{websocket.state.user} {context.request_id} {context.session_id} {app.context.request_id}")
    if websocket.state.user == "late":
        raise LookupError("late")
    await websocket.receive_text()

@app.entrypoint
def agent(request):
    return request

app.run()
"""


async def refused(url: str, **options: Any) -> Response:
    with pytest.raises(InvalidStatus) as found:
        await connect(url, **options)
    return found.value.response


@pytest.mark.promise("agent.middleware-websocket")
async def test_middlewares_are_around_websockets(tmp_path: Path) -> None:
    async with serving(TALKING, tmp_path) as agent:
        url = f"ws://127.0.0.1:{agent.port}/ws?X-Amzn-Bedrock-AgentCore-Runtime-Session-Id=s&how="
        with anyio.fail_after(60):
            async with connect(f"{url}talk", additional_headers={"X-Request-Id": "r"}) as socket:
                assert await socket.recv() == "talk r s r"
                await socket.send("end")
                assert await close_code(socket) == 1000
            await agent.says("GET /ws ended 101")
            async with connect(f"{url}late") as socket:
                assert str(await socket.recv()).startswith("late")
                assert await close_code(socket) == 1011
            await agent.says("seen late")
            async with connect(f"{url}leave") as socket:
                await socket.recv()
            answers = {how: await refused(url + how) for how in ("none", "stream", "raise", "early", "mute", "close", "deny")}
            other = await refused(url.replace("/ws", "/ping") + "talk")
    assert {how: answer.status_code for how, answer in answers.items()} == {
        "none": 401,
        "stream": 401,
        "raise": 500,
        "early": 418,
        "mute": 403,
        "close": 403,
        "deny": 402,
    }
    assert answers["none"].body == b'{"why":"no token"}'
    assert answers["stream"].body == b"no token"
    assert answers["raise"].body == b'{"error":"of the middleware"}'
    assert answers["mute"].body == b'{"error":"the agent has not accepted the WebSocket"}'
    assert [how for how, answer in answers.items() if "x-outer" in answer.headers] == ["none", "stream", "mute"]
    assert (other.status_code, other.headers["x-outer"]) == (403, "1")


@pytest.mark.promise("agent.middleware-websocket")
async def test_middlewares_are_around_websockets_behind_the_ingress(tmp_path: Path) -> None:
    async with yard() as sandbox, serving(TALKING, tmp_path) as agent:
        sandbox.dialer.open(ID, 8080, agent.port)
        headers = {"PPIO-Sandbox-Id": ID, "PPIO-Sandbox-Port": "8080", "X-Access-Token": TOKEN}
        url = f"ws://127.0.0.1:{sandbox.port}/ws?how="
        with anyio.fail_after(60):
            async with connect(f"{url}talk", additional_headers=headers, proxy=None) as socket:
                assert (await socket.recv()).split()[2] == ID
            answer = await refused(f"{url}none", additional_headers=headers, proxy=None)
    assert (answer.status_code, answer.body, answer.headers["x-outer"]) == (401, b'{"why":"no token"}', "1")


@pytest.mark.promise("agent.websocket")
async def test_an_agent_without_a_websocket_says_so(tmp_path: Path) -> None:
    async with serving(SOURCE, tmp_path) as agent:
        with anyio.fail_after(20):
            answer = await refused(f"ws://127.0.0.1:{agent.port}/ws")
        plain = await agent.get("/ws")
    assert (answer.status_code, b"this agent has no WebSocket at /ws" in answer.body, plain.status) == (403, True, 404)
