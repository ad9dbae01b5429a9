"""The public e2b client for JavaScript, unmodified and from npm, against a real platform."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("npm") is None, reason="this machine has no Node.js"),
]

PACKAGE = "e2b@2.51.0"
TOUR = Path(__file__).parents[1] / "support" / "javascript" / "tour.mjs"
EXPECTED = {
    "running": True,
    "command": [0, "hi\n", "oops\n", "hi\n"],
    "exit": 3,
    "read": ["one", "two"],
    "list": [["a.txt", "file"], ["deep", "dir"]],
    "rename": "c.txt",
    "exists": [False, True],
    "download": "one",
    "upload": 200,
    "uploaded": "three",
    "watch": "create",
    "terminal": True,
    "processes": True,
    "kill": True,
    "metrics": True,
    "listed": [True],
    "pause": [True, False],
    "again": "one",
    "gone": False,
}


async def run(*words: str, cwd: Path, env: dict[str, str], seconds: float) -> str:
    process = await asyncio.create_subprocess_exec(
        *words, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(seconds):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.promise("sandboxes.javascript")
async def test_the_client_for_javascript(process_platform: Platform, tmp_path: Path) -> None:
    shutil.copy(TOUR, tmp_path)
    environment = dict(os.environ)
    await run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), PACKAGE, cwd=tmp_path, env=environment, seconds=240)
    told = environment | process_platform.env | {"NO_PROXY": "127.0.0.1,localhost"}
    said = await run("node", "tour.mjs", cwd=tmp_path, env=told, seconds=120)
    answers: dict[str, Any] = dict(json.loads(line) for line in said.splitlines())
    assert answers == EXPECTED
