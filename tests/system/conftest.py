"""One platform of the process back end per worker, with the hostile agent deployed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.abuse import abuse_kit
from support.hostile import OPTIONS, Hostile
from support.platform import Platform
from support.prefabs import kit, publish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture(scope="session")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Hostile]:
    root = tmp_path_factory.mktemp("hostile")
    async with Platform(root / "data", *OPTIONS, backend="process") as platform:
        made = Hostile(platform)
        await made.deploy(root / "agent")
        yield made


@pytest.fixture(scope="session")
async def abused(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """A platform on the process back end whose gateway is impatient and bears with wrong credentials, with the prefabs of the abuse cases."""
    options = ("--call-timeout", "10", "--heartbeat", "0.4", "--auth-failures", "100000", "--largest-file", "2Mi")
    async with Platform(tmp_path_factory.mktemp("abused") / "data", *options, backend="process") as running:
        await publish(running, kit())
        await publish(running, abuse_kit())
        yield running
