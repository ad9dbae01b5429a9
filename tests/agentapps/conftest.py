"""One model server and one kitchen per worker: starting an app costs seconds, and sessions do not mix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentapps.models import ModelServer, model_server
from agentapps.serving import APPS, Served, project, served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture(scope="session")
async def shared_models() -> AsyncGenerator[ModelServer]:
    async with model_server() as server:
        yield server


@pytest.fixture
def models(shared_models: ModelServer) -> ModelServer:
    """The model server, without faults and memories of another test."""
    shared_models.requests.clear()
    shared_models.headers.clear()
    shared_models.faults.clear()
    shared_models.delay = 0.0
    shared_models.left = type(shared_models.left)()
    return shared_models


@pytest.fixture(scope="session")
async def kitchen(shared_models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Served]:
    directory = project(tmp_path_factory.mktemp("kitchen"), APPS / "kitchen.py")
    async with served(directory, MODEL_URL=shared_models.openai) as app:
        yield app
