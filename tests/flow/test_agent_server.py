"""The server on its own, and the application under somebody else's server or routes."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from ppio_sandbox.agent_runtime import AgentRuntimeServer, PingStatus, RequestContext, RuntimeConfig
from support.agents import Agent, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


def request_of(body: bytes, path: str = "/invocations", **headers: str) -> Request:
    """Return a Starlette request as any framework makes them."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": raw}, receive)


STACK = """
import asyncio, sys
from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()

@app.entrypoint
async def answer(request):
    loaded = [name for name in ("uvicorn", "httptools", "h11") if name in sys.modules]
    return {"loop": type(asyncio.get_running_loop()).__module__, "loaded": loaded}

app.run()
"""


async def echo(request: dict[str, Any], context: RequestContext) -> dict[str, Any]:
    return {"got": request, "sandbox": context.sandbox_id}


def server_of(function: Any, **settings: Any) -> AgentRuntimeServer:
    server = AgentRuntimeServer(RuntimeConfig(**settings))
    server.set_entrypoint_handler(function)
    return server


@pytest.mark.promise("agent.server")
async def test_the_handlers_answer_starlette_requests() -> None:
    server = server_of(echo)
    answer = await server.handle_invocations(request_of(b'{"query": "q"}', x_sandbox_id="s"))
    assert answer.status_code == 200
    assert orjson.loads(bytes(answer.body))["result"] == {"got": {"query": "q", "prompt": "q"}, "sandbox": "s"}
    server.set_ping_handler(lambda: PingStatus.HEALTHY_BUSY)
    ping = await server.handle_ping(request_of(b"", "/ping"))
    assert orjson.loads(bytes(ping.body))["status"] == "HealthyBusy"


@pytest.mark.promise("agent.server")
async def test_the_handlers_answer_failures_too() -> None:
    async def slow(_request: Any) -> None:
        await anyio.sleep(60)

    def fails(_request: Any) -> None:
        raise ValueError("no such city")

    failed = await server_of(fails).handle_invocations(request_of(b"{}"))
    broken = await server_of(fails).handle_invocations(request_of(b"{"))
    late = await server_of(slow).handle_invocations(request_of(b'{"timeout": 0.05}'))
    none = await AgentRuntimeServer().handle_invocations(request_of(b"{}"))
    assert [answer.status_code for answer in (failed, broken, late, none)] == [500, 400, 504, 500]
    assert orjson.loads(bytes(failed.body))["error_type"] == "ValueError"
    assert "no entrypoint" in orjson.loads(bytes(none.body))["error"]


@pytest.mark.promise("agent.server")
async def test_the_handlers_serve_under_the_routes_of_another_application() -> None:
    async def words(_request: Any) -> AsyncIterator[str]:
        yield "one"
        yield "two"

    server = server_of(words)
    app = Starlette(routes=[Route("/my/agent", server.handle_invocations, methods=["POST"]), Route("/health", server.handle_ping)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent") as client:
        stream = await client.post("/my/agent", json={})
        whole = await client.post("/my/agent", json={"stream": False})
        assert (await client.get("/health")).json()["status"] == "Healthy"
    assert stream.text == 'data: "one"\n\ndata: "two"\n\n'
    assert whole.json()["result"] == "onetwo"


SERVER = """
from ppio_sandbox.agent_runtime import AgentRuntimeServer, RuntimeConfig
server = AgentRuntimeServer(RuntimeConfig())
server.set_entrypoint_handler(lambda request: request)
server.set_ping_handler(lambda: {"status": "healthy", "own": 1})
async def around(request, call_next):
    response = await call_next(request)
    response.headers["x-around"] = "yes"
    return response
server.add_middleware(around)
server.run(0, "127.0.0.1")
"""


@pytest.mark.promise("agent.server")
async def test_a_server_runs_without_an_application(tmp_path: Path) -> None:
    async with serving(SERVER, tmp_path) as agent:
        answer = await agent.post({"a": 1})
        ping = await agent.get("/ping")
    assert (answer.json["result"], answer.headers["x-around"], ping.json["own"]) == ({"a": 1}, "yes", 1)


AGENT = """
from ppio_sandbox.agent_runtime import AgentRuntimeApp
app = AgentRuntimeApp()
@app.entrypoint
async def agent(request):
    yield request
"""


@pytest.mark.promise("agent.asgi")
async def test_any_asgi_server_can_run_the_application(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    command = [sys.executable, "-m", "uvicorn", "agent:app", "--port", "0", "--no-use-colors"]
    async with await anyio.open_process(command, cwd=tmp_path, stdin=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        told = ""
        with anyio.fail_after(20):
            while (found := re.search(r"http://127.0.0.1:(\d+)", told)) is None:
                told += (await process.stderr.receive()).decode()
        agent = Agent(process, int(found[1]))
        answer = await agent.post({"a": 1})
        process.terminate()
        with anyio.fail_after(20):
            await process.wait()
    assert answer.body == b'data: {"a":1}\n\n'


@pytest.mark.promise("agent.stack")
async def test_the_service_runs_on_uvicorn_with_uvloop_and_httptools(tmp_path: Path) -> None:
    async with serving(STACK, tmp_path) as agent:
        answer = await agent.post({})
    assert answer.json["result"] == {"loop": "uvloop", "loaded": ["uvicorn", "httptools"]}
