"""The page about templates: its program is a file, and it runs."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from support.platform import Platform

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "docs_src" / "build_template.py"


@pytest.mark.promise("template.documented")
async def test_the_program_on_the_page_is_a_file_that_runs(tmp_path: Path) -> None:
    assert f"```python\n{PROGRAM.read_text()}```" in (ROOT / "docs" / "templates.md").read_text()
    async with Platform(tmp_path / "data", backend="process") as server:
        environment = {**os.environ, **server.env, "NO_PROXY": "127.0.0.1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
        )
        async with asyncio.timeout(90):
            out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    assert out.decode().splitlines() == ["/home/user/app", "__pycache__", "build_template.py", "GREETING=hello"]
