"""The README's program for sandboxes runs as it is printed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from support.platform import Platform

pytestmark = pytest.mark.anyio
PROGRAM = Path(__file__).resolve().parents[2] / "docs_src" / "sandbox.py"


@pytest.mark.promise("docs.run")
async def test_the_program_for_sandboxes_runs(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as server:
        environment = {**os.environ, **server.env, "NO_PROXY": "127.0.0.1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert (process.returncode, err.decode()) == (0, "")
        assert out.decode() == "42\n\n"
        assert (await server.api.get("/v2/sandboxes")).json() == []
