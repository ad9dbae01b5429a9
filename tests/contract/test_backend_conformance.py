"""Every back end, held by the suite that ships with the port."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from sandyard.backends.conformance import CASES, Subject, run_case
from sandyard.backends.memory import GAPS, MemoryBackend
from sandyard.backends.process.backend import ProcessBackend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.promise("backend.conformance", "backend.freeze", "backend.start_failed", "backend.concurrent")]


@asynccontextmanager
async def memory(tmp_path: Path) -> AsyncGenerator[Subject]:
    backend = MemoryBackend()
    agents = tmp_path / "agents"
    agents.mkdir()
    await backend.open()
    try:
        yield Subject(backend, agents, lambda script: ("python", script), GAPS)
    finally:
        await backend.shutdown()


@asynccontextmanager
async def process(tmp_path: Path) -> AsyncGenerator[Subject]:
    data, agents = tmp_path / "data", tmp_path / "agents"
    data.mkdir(mode=0o700)
    agents.mkdir()
    # No egress in this suite: the listener that each sandbox is given is closed, as a detached one is.
    backend = ProcessBackend(
        data, attach_egress=lambda sandbox_id, listener, policy: listener.close(), detach_egress=lambda sandbox_id: None
    )
    await backend.open()
    try:
        yield Subject(backend, agents, lambda script: (sys.base_prefix + "/bin/python3", script))
    finally:
        await backend.shutdown()


BACKENDS = {"memory": memory, "process": process}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_backend(backend: str, case: str, tmp_path: Path) -> None:
    async with BACKENDS[backend](tmp_path) as subject:
        if CASES[case].needs in subject.gaps:
            pytest.skip(f"a known gap of this back end: {CASES[case].needs}")
        await run_case(CASES[case], subject)
