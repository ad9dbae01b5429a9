"""One stage per worker and back end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from seeds.stage import Stage
from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture(scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    """A platform on the memory back end."""
    root = tmp_path_factory.mktemp("stage")
    async with Platform(root / "data") as platform:
        yield Stage(platform, root)


@pytest.fixture(scope="session")
async def process_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    """A platform on the process back end."""
    root = tmp_path_factory.mktemp("stage")
    async with Platform(root / "data", backend="process") as platform:
        yield Stage(platform, root)
