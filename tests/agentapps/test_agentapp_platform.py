"""The link to a platform: heartbeats and reloads."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agentapps.models import listening
from agentapps.serving import message, project, served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from starlette.requests import Request

pytestmark = pytest.mark.anyio

APP = """\
import asyncio

from agentscope.runtime import AgentApp


class App(AgentApp):
    async def __call__(self, msg, ctx):
        yield 'VERSION'
        await asyncio.sleep(0.5)
        yield ' done'
"""


@dataclass
class Hub:
    """A platform that hears, and says what is wanted."""

    url: str = ""
    action: str = "none"
    status: int = 200
    beats: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: set[str | None] = field(default_factory=set[str | None])
    heard: anyio.Event = field(default_factory=anyio.Event)

    async def beat(self, request: Request) -> Response:
        self.beats.append({"id": request.path_params["id"], **await request.json()})
        self.keys.add(request.headers.get("x-api-key"))
        self.heard.set()
        self.heard = anyio.Event()
        return JSONResponse({}, self.status)

    async def config(self, request: Request) -> Response:
        del request
        action, self.action = self.action, "none"
        return JSONResponse({"updated": action != "none", "action": action})

    async def next(self) -> None:
        with anyio.fail_after(30):
            await self.heard.wait()


@contextlib.asynccontextmanager
async def hub() -> AsyncGenerator[Hub]:
    told = Hub()
    routes = [Route("/instances/{id}/heartbeat", told.beat, methods=["POST"]), Route("/instances/{id}/config", told.config)]
    async with listening(Starlette(routes=routes)) as told.url:
        yield told


def config(hub: Hub) -> str:
    return f"models: {{}}\nplatform: {{endpoint: '{hub.url}', instance_id: i-1, heartbeat_interval: 0.2, api_key: hush-hush}}\n"


@pytest.mark.promise("agentapp.platform")
@pytest.mark.parametrize("action", ["reload", "restart"])
async def test_a_platform_hears_and_may_ask_for_a_reload_that_refuses_nobody(action: str, tmp_path: Path) -> None:
    async with hub() as platform:
        directory = project(tmp_path, APP, config(platform))
        async with served(directory) as app:
            assert await app.ask("x") == "VERSION done"
            await platform.next()
            await platform.next()
            beat = platform.beats[-1]
            assert (beat["id"], beat["status"], platform.keys) == ("i-1", "healthy", {"hush-hush"})
            assert beat["metrics"]["total_requests"] == 1
            assert beat["metrics"]["active_sessions"] == 0
            assert beat["metrics"]["memory_usage_mb"] > 10
            (directory / "app.py").write_text(APP.replace("VERSION", "another"))
            async with app.streaming(message("x", "old")) as stream:
                first = await anext(stream)
                platform.action = action
                rest = b"".join([part async for part in stream])
                assert b"VERSION" in first
                assert b" done" in rest, "what is being answered is finished"
            with anyio.fail_after(60):
                while await app.ask("x") != "another done":  # nobody is refused meanwhile: the socket stays open
                    await anyio.sleep(0.05)


@pytest.mark.promise("agentapp.platform")
async def test_without_a_platform_nothing_is_sent_and_one_that_is_away_changes_nothing(tmp_path: Path) -> None:
    async with hub() as platform:
        directory = project(tmp_path, APP, config(platform))
        async with served(directory, "--no-platform") as app:
            assert await app.ask("x") == "VERSION done"
            assert platform.beats == []
        platform.status = 500
        async with served(directory) as app:
            await platform.next()
            await platform.next()
            assert await app.ask("x") == "VERSION done"
            await app.says("does not take heartbeats")
            platform.status = 200
            await app.says("takes heartbeats again")
        assert "hush-hush" not in "".join(app.log)
