"""What all tests share: anyio's tests run on asyncio with uvloop, as the server does; each environment runs the tests that are its own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

AGENT_APPS = Path(__file__).parent / "agentapps"
HAS_AGENTSCOPE = find_spec("agentscope") is not None


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """AgentScope apps are tested where AgentScope is installed, and nothing else is."""
    if collection_path in AGENT_APPS.parents:
        return None
    return True if collection_path.is_relative_to(AGENT_APPS) != HAS_AGENTSCOPE else None


class Elsewhere(pytest.Module):
    """A file whose tests run in the other environment."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        return []


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave out likewise what was named on the command line, which nothing ignores."""
    if module_path.is_relative_to(AGENT_APPS) == HAS_AGENTSCOPE:
        return None
    return Elsewhere.from_parent(parent, path=module_path)  # pyright: ignore[reportUnknownMemberType] (pytest leaves it open)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give files that share something dear to one worker; xdist decides where it does not go by files."""
    if config.getoption("dist") != "loadfile":
        return None
    from support.scheduling import ByFile

    return ByFile(config, log)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}
