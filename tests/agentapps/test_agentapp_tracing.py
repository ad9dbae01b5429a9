"""Traces: an agent's steps reach the collector that `tracing.endpoint` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from agentapps.models import listening
from agentapps.serving import APPS, CONFIG, project, served

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from agentapps.models import ModelServer

pytestmark = pytest.mark.anyio


@pytest.mark.promise("agentapp.tracing", "agentapp.secrets")
async def test_an_agent_s_steps_are_traced_and_no_key_is_in_them(models: ModelServer, tmp_path: Path) -> None:
    bodies: list[bytes] = []

    async def collect(request: Request) -> Response:
        bodies.append(await request.body())
        return Response(b"", media_type="application/x-protobuf")

    async with listening(Starlette(routes=[Route("/v1/traces", collect, methods=["POST"])])) as collector:
        config = CONFIG + f"tracing: {{endpoint: '{collector}/v1/traces'}}\n"
        directory = project(tmp_path, APPS / "kitchen.py", config)
        async with served(directory, MODEL_URL=models.openai, OPENAI_API_KEY="sk-very-secret-key") as app:
            assert await app.ask("react hi") == "You said: hi"
            app.ends()
            with anyio.fail_after(30):
                assert await app.process.wait() == 0
    told = b"".join(bodies)
    assert b"Friday" in told, "the agent is named"
    assert b"gpt-4" in told
    assert b"sk-very-secret-key" not in told
