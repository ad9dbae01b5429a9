"""What all tests share: anyio's tests run on asyncio with uvloop, as the server does; each environment runs the tests that are its own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

AGENT_APPS = Path(__file__).parent / "agentapps"
HAS_AGENTSCOPE = find_spec("agentscope") is not None


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """AgentScope apps are tested where AgentScope is installed, and nothing else is."""
    if collection_path in AGENT_APPS.parents:
        return None
    return True if collection_path.is_relative_to(AGENT_APPS) != HAS_AGENTSCOPE else None


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}
