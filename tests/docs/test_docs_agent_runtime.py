"""The page of the agent's service: its program runs, and its tables are what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from ppio_sandbox.agent_runtime import RuntimeConfig
from ppio_sandbox.agent_runtime.runtime.settings import VARIABLES
from support.agents import serving

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "agent-runtime.md").read_text()
SOURCE = (ROOT / "docs_src" / "agent_settings.py").read_text()


@pytest.mark.promise("docs.agent-runtime")
async def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    assert re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) == [SOURCE]
    async with serving(SOURCE, tmp_path) as agent:
        answer = await agent.post({"prompt": "hello"}, x_sandbox_id="s")
        assert (await agent.get("/ping")).json["status"] == "HealthyBusy"
        async with connect(f"ws://127.0.0.1:{agent.port}/ws", additional_headers={"X-Request-Id": "r"}) as socket:
            await socket.send("hello")
            assert await socket.recv() == "r: HELLO"
    assert [event.data for event in answer.events] == ['"session s: "', '"hello"']
    assert "x-seconds" in answer.headers


@pytest.mark.promise("docs.agent-runtime")
def test_the_page_names_every_setting() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    named = {name for line in rows for name in re.findall(r"`(\w+)`", line)}
    assert set(RuntimeConfig.model_fields) - named == set()
    assert set(VARIABLES.values()) - named == set()
