"""The bad actors are what they are called, so that tests may lean on them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from sandyard.backends.conformance import AGENT
from sandyard.domain.errors import StartFailed
from sandyard.domain.specs import Mount, SandboxSpec
from support.backends import DiesOnStart, NeverReady, SlowBackend

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


def a_spec(app: Path, ready_timeout: float) -> SandboxSpec:
    (app / "agent.py").write_text(AGENT)
    mounts = (Mount(app, "/app"),)
    return SandboxSpec(
        sandbox_id="s0", command=("python", "agent.py"), mounts=mounts, ready_timeout=ready_timeout, ends_at=time.time() + 60
    )


@pytest.mark.parametrize(("actor", "exit_code"), [(NeverReady, None), (DiesOnStart, 1)])
async def test_a_start_fails(actor: type[NeverReady | DiesOnStart], exit_code: int | None, tmp_path: Path) -> None:
    backend = actor()
    with pytest.raises(StartFailed) as failure:
        await backend.start(a_spec(tmp_path, 0.1))
    assert failure.value.exited.exit_code == exit_code
    assert await backend.list() == []


async def test_a_slow_start_waits_for_its_release(tmp_path: Path) -> None:
    backend = SlowBackend()
    starting = asyncio.create_task(backend.start(a_spec(tmp_path, 30.0)))
    await asyncio.sleep(0)
    assert backend.waiting == 1
    backend.release.set()
    assert (await starting).sandbox_id == "s0"
    await backend.shutdown()
