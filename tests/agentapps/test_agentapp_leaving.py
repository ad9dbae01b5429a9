"""Ends before the end: clients that leave, answers that take too long, servers that are told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from agentapps.models import Fault
from agentapps.serving import APPS, CONFIG, free_port, left, message, project, served
from agentapps.tool_server import tool_server

if TYPE_CHECKING:
    from pathlib import Path

    from agentapps.models import ModelServer
    from agentapps.serving import Served

pytestmark = pytest.mark.anyio

WORDS = "word " * 400
SLOW_TO_END = """\
import asyncio
from pathlib import Path

from agentscope.runtime import AgentApp


class App(AgentApp):
    async def on_shutdown(self):
        await asyncio.sleep(0.5)
        Path("shut-down").write_text("yes")

    async def __call__(self, msg, ctx):
        yield "begun"
        await asyncio.sleep(1)
        Path("worked").write_text(str(Path("shut-down").exists()))
        yield "done"
"""


@pytest.mark.promise("agentapp.cancels")
@pytest.mark.parametrize(
    ("body", "path", "headers"),
    [
        (message(f"react {WORDS}", "leaving-json"), "/invoke", {"accept": "application/json"}),
        ({"prompt": f"model {WORDS}"}, "/invocations", {}),
        ({"prompt": f"react {WORDS}", "stream": False}, "/invocations", {}),
    ],
)
async def test_who_leaves_stops_the_model_whatever_way_it_was_asked(
    body: Any, path: str, headers: dict[str, str], kitchen: Served, models: ModelServer
) -> None:
    models.delay = 0.02
    assert await left(kitchen, models, body, path, **headers)


@pytest.mark.promise("agentapp.cancels", "agentapp.tools")
async def test_who_leaves_in_a_tool_s_call_leaves_the_tool_server_usable(models: ModelServer, tmp_path: Path) -> None:
    began = tmp_path / "slow-began"
    async with tool_server("streamable-http", free_port(), SLOW_BEGAN=str(began)) as tools:
        config = CONFIG + f"mcp_servers: {{tools: {{url: '{tools.url}'}}}}\n"
        async with served(project(tmp_path, APPS / "kitchen.py", config), MODEL_URL=models.openai) as app:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(app.post, message('remembering use slow {"seconds": 30}'))
                with anyio.fail_after(20):
                    while not began.exists():
                        await anyio.sleep(0.02)
                tasks.cancel_scope.cancel()
            with anyio.fail_after(5):
                assert (await app.ask('remembering use search {"query": "it"}')).endswith("tools found it")
            assert "slow" not in str(models.requests[-1]["messages"]), "what was left is not in the memory"
            assert "interrupted" not in str(models.requests[-1]["messages"])


@pytest.mark.promise("agentapp.config", "agentapp.model-faults")
async def test_an_answer_that_takes_too_long_is_ended(models: ModelServer, tmp_path: Path) -> None:
    config = CONFIG + "server: {timeout: 3}\n"
    async with served(project(tmp_path, APPS / "kitchen.py", config), MODEL_URL=models.openai) as app:
        models.faults.append(Fault(kind="stall", after=0))
        late = await app.post(message("remembering hi"), accept="application/json")
        assert (late.status_code, late.json()["error"]["code"]) == (504, "AGENT_TIMEOUT"), late.text
        models.faults.append(Fault(kind="stall", after=1))
        cut = await app.post(message("remembering hi"))
        assert cut.status_code == 200
        assert b"event: error" in cut.content
        assert await app.ask("remembering again") == "You said: again"


@pytest.mark.promise("agentapp.finishes", "agentapp.life")
async def test_what_is_to_be_finished_is_finished_before_the_app_ends(tmp_path: Path) -> None:
    async with served(project(tmp_path, SLOW_TO_END, "server: {on_disconnect: finish}\n")) as app:
        async with app.streaming(message("x")) as stream:
            await anext(stream)
        app.ends()
        with anyio.fail_after(20):
            assert await app.process.wait() == 0, "".join(app.log)
    assert (tmp_path / "worked").read_text() == "False", "the instance is shut down when its work is done"
    assert (tmp_path / "shut-down").exists(), "the end waits for it"


@pytest.mark.slow
@pytest.mark.promise("agentapp.cancels")
async def test_an_agent_that_does_not_stop_holds_up_its_session_for_a_while_only(kitchen: Served) -> None:
    async with kitchen.streaming(message("stubborn", "stubborn")) as stream:
        await anext(stream)
    with anyio.fail_after(20):
        assert await kitchen.ask("echo x", "stubborn") == "x "
    await kitchen.says("is cancelled again")
