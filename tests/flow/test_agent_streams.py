"""What happens while an agent works: chunks on the wire, clients that leave, blocked threads, contexts, an idle process."""

from __future__ import annotations

import signal
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import anyio
import pytest

from support.agents import serving

pytestmark = pytest.mark.anyio

HEAD = """
import asyncio, threading
from ppio_sandbox.agent_runtime import AgentRuntimeApp
app = AgentRuntimeApp()
go = threading.Event()
"""
RUN = "\napp.run()\n"
MIDDLEWARE = "@app.middleware\nasync def around(request, call_next):\n    return await call_next(request)\n"

GATED = {
    "async generator": """
@app.entrypoint
async def agent(request):
    if "go" in request:
        go.set()
        return
    yield "first"
    while not go.is_set():
        await asyncio.sleep(0.005)
    yield "second"
""",
    "generator": """
@app.entrypoint
def agent(request):
    if "go" in request:
        go.set()
        return
    yield "first"
    assert go.wait(20)
    yield "second"
""",
}


@pytest.mark.promise("agent.first-chunk")
@pytest.mark.parametrize("around", ["", MIDDLEWARE], ids=["bare", "middleware"])
@pytest.mark.parametrize("kind", GATED)
async def test_the_first_chunk_is_out_before_the_second_exists(kind: str, around: str, tmp_path: Path) -> None:
    async with serving(HEAD + around + GATED[kind] + RUN, tmp_path) as agent, agent.call({}) as call:
        assert b"second" not in await call.read_until(b'data: "first"\n\n')
        await agent.post({"go": True})
        answer = await call.answer()
    assert [event.data for event in answer.events] == ['"first"', '"second"']


@pytest.mark.promise("agent.first-chunk")
async def test_the_first_chunk_is_out_also_if_the_agent_then_blocks_the_event_loop(tmp_path: Path) -> None:
    source = "@app.entrypoint\nasync def agent(request):\n    yield 'first'\n    input_gate()\n    yield 'second'\n"
    gate = tmp_path / "gate"
    wait = f"import os\nos.mkfifo({str(gate)!r})\ndef input_gate():\n    open({str(gate)!r}).close()\n"
    async with serving(HEAD + wait + source + RUN, tmp_path) as agent, agent.call({}) as call:
        await call.read_until(b'data: "first"\n\n')
        await anyio.to_thread.run_sync(lambda: gate.open("w").close())
        assert [event.data for event in (await call.answer()).events] == ['"first"', '"second"']


LEAVING = {
    "async": """
@app.entrypoint
async def agent(request):
    print("started")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("stopped")
        raise
""",
    "async generator": """
@app.entrypoint
async def agent(request):
    print("started")
    try:
        yield 1
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("stopped")
        raise
""",
    "async generator that never waits": """
@app.entrypoint
async def agent(request):
    print("started")
    try:
        while True:
            yield "x" * 1000
    except GeneratorExit:
        print("stopped")
        raise
    except asyncio.CancelledError:
        print("stopped")
        raise
""",
    "generator": """
import time
@app.entrypoint
def agent(request):
    print("started")
    try:
        while True:
            yield 1
            time.sleep(0.01)
    except GeneratorExit:
        print("stopped")
        raise
""",
}


@pytest.mark.promise("agent.leaving")
@pytest.mark.parametrize("around", ["", MIDDLEWARE], ids=["bare", "middleware"])
@pytest.mark.parametrize("kind", LEAVING)
async def test_a_client_that_leaves_cancels_the_work(kind: str, around: str, tmp_path: Path) -> None:
    async with serving(HEAD + around + LEAVING[kind] + RUN, tmp_path) as agent:
        async with agent.call({}):
            await agent.says("started")
        await agent.says("stopped")
        assert (await agent.get("/ping")).status == 200


@pytest.mark.promise("agent.leaving")
async def test_a_function_in_a_thread_ends_by_itself_and_its_result_is_dropped(tmp_path: Path) -> None:
    source = """
@app.entrypoint
def agent(request):
    if "go" in request:
        go.set()
        return "gone on"
    print("started")
    assert go.wait(20)
    print("stopped")
"""
    async with serving(HEAD + source + RUN, tmp_path) as agent:
        async with agent.call({}):
            await agent.says("started")
        assert (await agent.post({"go": 1})).json["result"] == "gone on"
        await agent.says("stopped")


@pytest.mark.promise("agent.ping-free")
async def test_ping_answers_while_functions_block(tmp_path: Path) -> None:
    source = """
@app.entrypoint
def agent(request):
    if "go" in request:
        go.set()
    print("blocked")
    assert go.wait(20)
    return "done"
"""
    async with serving(HEAD + source + RUN, tmp_path) as agent, agent.call({}) as call:
        await agent.says("blocked")
        for _ in range(3):
            assert (await agent.get("/ping")).status == 200
        await agent.post({"go": 1})
        assert (await call.answer()).json["result"] == "done"


CONTEXTS = {
    "plain": "@app.entrypoint\ndef agent(request):\n    return seen()\n",
    "async": "@app.entrypoint\nasync def agent(request):\n    await asyncio.sleep(0.001)\n    return seen()\n",
    "started thread": "@app.entrypoint\nasync def agent(request):\n    return await asyncio.to_thread(seen)\n",
    "started task": "@app.entrypoint\nasync def agent(request):\n    return await asyncio.create_task(later())\nasync def later():\n    return seen()\n",
    "generator": "@app.entrypoint\ndef agent(request):\n    yield from ()\n    for _ in range(3):\n        last = seen()\n        yield last\n",
    "async generator": "@app.entrypoint\nasync def agent(request):\n    for _ in range(3):\n        await asyncio.sleep(0)\n        yield seen()\n",
}


@pytest.mark.promise("agent.context")
@pytest.mark.parametrize("kind", CONTEXTS)
async def test_the_context_is_right_wherever_the_code_runs(kind: str, tmp_path: Path) -> None:
    seen = "def seen():\n    return [app.context.session_id, app.context.request_id, app.context.headers['x-who']]\n"
    numbers = [str(number) for number in range(200)]
    results: dict[str, object] = {}
    async with serving(HEAD + seen + CONTEXTS[kind] + RUN, tmp_path) as agent:

        async def ask(number: str) -> None:
            body = {"stream": False, "session_id": number} if int(number) % 2 else {"stream": False}
            header = {} if "session_id" in body else {"x_sandbox_id": number}
            results[number] = (await agent.post(body, x_request_id=f"r{number}", x_who=f"w{number}", **header)).json["result"]

        async with anyio.create_task_group() as group:
            for number in numbers:
                group.start_soon(ask, number)
    expected = {number: [number, f"r{number}", f"w{number}"] for number in numbers}
    assert results == {n: [e] * 3 if "generator" in kind else e for n, e in expected.items()}


def context_switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


@pytest.mark.promise("agent.idle")
async def test_an_idle_agent_sleeps(tmp_path: Path) -> None:
    async with serving(HEAD + LEAVING["async"] + RUN, tmp_path) as agent:
        assert (await agent.get("/ping")).status == 200
        await anyio.sleep(0.5)  # not to synchronise: what the request has started may come to rest
        before = context_switches(agent.process.pid)
        await anyio.sleep(1.5)  # the window that is measured; uvicorn's own loop wakes fifteen times in it
        assert context_switches(agent.process.pid) - before <= 2
        date = parsedate_to_datetime((await agent.get("/ping")).headers["date"])
        assert abs(date.timestamp() - time.time()) < 1.2


@pytest.mark.promise("agent.drains")
async def test_sigterm_lets_running_work_end(tmp_path: Path) -> None:
    source = """
import signal
@app.entrypoint
async def agent(request):
    print("started")
    await asyncio.sleep(0.3)
    return "done"
"""
    async with serving(HEAD + source + RUN, tmp_path) as agent, agent.call({}) as call:
        await agent.says("started")
        agent.process.send_signal(signal.SIGTERM)
        assert (await call.answer()).json["result"] == "done"
        with anyio.fail_after(20):
            assert await agent.process.wait() == -signal.SIGTERM
