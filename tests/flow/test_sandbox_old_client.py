"""The public e2b client 2.50, which uses the first version of the paths, from the package index and in an environment of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uv

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PACKAGE = "e2b==2.50.0"
WALK = Path(__file__).parents[1] / "support" / "old_e2b.py"
UNREACHABLE = ("error sending request", "dns error", "Connection refused", "timed out", "tunnel")


async def run(*words: str, env: dict[str, str], seconds: float) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(*words, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.timeout(seconds):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()


@pytest.mark.promise("sandboxes.old-client")
async def test_the_client_of_the_first_paths(process_platform: Platform, tmp_path: Path) -> None:
    tool, home, environment = uv.find_uv_bin(), tmp_path / "env", dict(os.environ)
    code, said = await run(tool, "venv", "--python", sys.executable, str(home), env=environment, seconds=60)
    assert code == 0, said
    python = str(home / "bin" / "python")
    code, said = await run(tool, "pip", "install", "--python", python, PACKAGE, env=environment, seconds=240)
    if code != 0 and any(word in said for word in UNREACHABLE):
        pytest.skip(f"the package index is not reached from here: {said.strip()[-300:]}")
    assert code == 0, said
    told = environment | process_platform.env | {"NO_PROXY": "127.0.0.1,localhost"}
    assert await run(python, "-P", str(WALK), env=told, seconds=120) == (0, "walked\n")
