"""One platform per worker for the tests that need no platform of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.envd import envd
from support.interpreter import Interpreter, build, interpreter
from support.packages import write_agent
from support.platform import Platform
from support.prefabs import kit, publish
from support.sandboxes import rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.envd import Envd, Wire


@pytest.fixture(scope="session")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """A platform on the memory back end, with the agent `echo` deployed."""
    root = tmp_path_factory.mktemp("platform")
    async with Platform(root / "data") as running:
        await running.deploy(write_agent(root / "echo"))
        yield running


@pytest.fixture(scope="session")
async def process_platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """A platform on the process back end, with the agent `echo` deployed."""
    root = tmp_path_factory.mktemp("process")
    async with Platform(root / "data", backend="process") as running:
        await running.deploy(write_agent(root / "echo"))
        yield running


@pytest.fixture(scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """A platform on the process back end whose gateway is impatient, with the prefab `test-kit` published."""
    root = tmp_path_factory.mktemp("gateway")
    options = ("--call-timeout", "8", "--stream-idle", "4", "--heartbeat", "0.4")
    async with Platform(root / "data", *options, backend="process") as running:
        await publish(running, kit())
        yield running


@pytest.fixture(scope="session")
async def clients_sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Envd]:
    """A sandbox without a command of its own on the process back end: what it does is what is asked of its guest."""
    async with rig(tmp_path_factory.mktemp("clients")) as running, envd(running) as sandbox:
        yield sandbox


@pytest.fixture
async def wire(clients_sandbox: Envd) -> AsyncGenerator[Wire]:
    """A connection of the test's own to that sandbox's guest."""
    async with clients_sandbox.wire() as connected:
        yield connected


@pytest.fixture(scope="session")
async def interpreters(process_platform: Platform) -> Platform:
    """The platform on the process back end, on which the code interpreter's template is built."""
    await build(process_platform)
    return process_platform


@pytest.fixture(scope="session")
async def shared_interpreter(interpreters: Platform) -> AsyncGenerator[Interpreter]:
    """A sandbox of the code interpreter for the tests that change nothing that others look at."""
    async with interpreter(interpreters, envs={"OF_SANDBOX": "always"}) as started:
        yield started
