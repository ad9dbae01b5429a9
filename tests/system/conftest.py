"""One platform of the process back end per worker, with the hostile agent deployed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.hostile import OPTIONS, Hostile
from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture(scope="session")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Hostile]:
    root = tmp_path_factory.mktemp("hostile")
    async with Platform(root / "data", *OPTIONS, backend="process") as platform:
        made = Hostile(platform)
        await made.deploy(root / "agent")
        yield made
