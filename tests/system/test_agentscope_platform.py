"""An AgentScope app that runs beside the platform reports to it, and is asked by it to reload."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from support.platform import Platform, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(200)]

COMMAND = Path(__file__).parents[2] / ".venv-agentscope" / "bin" / "agentscope"
APP = "from agentscope.runtime import AgentApp\n\n\nclass App(AgentApp):\n    async def __call__(self, msg, ctx):\n        return 'first'\n"
CONFIG = "models: {}\nplatform: {endpoint: '${PPIO_API_URL}', instance_id: beside, heartbeat_interval: 0.2, api_key: '${PPIO_API_KEY}'}\n"
BODY = {"session_id": "s", "message": "x"}


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Platform]:
    async with Platform(tmp_path / "data") as platform:
        yield platform


async def asked(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        reply = await client.post(f"{url}/invoke", json=BODY, headers={"accept": "application/json"})
    return reply.json()["content"]


@pytest.mark.promise("agentapp.platform")
async def test_an_app_reports_and_reloads(platform: Platform, tmp_path: Path) -> None:
    assert COMMAND.exists(), "scripts/test makes .venv-agentscope"
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "app.py").write_text(APP)
    (directory / "agentapp.yaml").write_text(CONFIG)

    async def instances() -> list[dict[str, Any]]:
        return (await platform.api.get("/instances")).json()

    async def heard() -> bool:
        return [one["metrics"]["total_requests"] for one in await instances()] == [1]

    command = [str(COMMAND), "run", str(directory), "--port", "0"]
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), **platform.env}
    async with await anyio.open_process(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            assert process.stderr is not None
            text = ""
            with anyio.fail_after(60):
                while "listens on" not in text or not text.endswith("\n"):
                    text += (await process.stderr.receive()).decode()
            url = next(line for line in text.splitlines() if "listens on" in line).rpartition(" ")[2]
            assert await asked(url) == "first"
            await until(heard)
            assert (await instances())[0]["id"] == "beside"
            (directory / "app.py").write_text(APP.replace("first", "second"))
            assert (await platform.api.post("/instances/beside/action", json={"action": "reload"})).status_code == 204

            async def reloaded() -> bool:
                return await asked(url) == "second"

            await until(reloaded, 60)
        finally:
            process.terminate()
            await process.wait()


@pytest.mark.promise("agentapp.platform")
async def test_an_instance_that_never_reported_is_asked_nothing(platform: Platform) -> None:
    unknown = await platform.api.post("/instances/nobody/action", json={"action": "reload"})
    assert unknown.status_code == 404
    assert (await platform.api.post("/instances/x/action", json={"action": "explode"})).status_code == 400
    assert (await platform.api.get("/instances/nobody/config")).json() == {"updated": False, "action": "none"}
    async with httpx.AsyncClient(base_url=platform.api_url, trust_env=False) as stranger:
        assert (await stranger.post("/instances/x/heartbeat", json={})).status_code == 401
