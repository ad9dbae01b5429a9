"""What is not imported before somebody needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.promise("platform.light-start")
@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("sandyard.app.offline", {"fastapi", "starlette", "uvicorn", "aiohttp", "mcp", "botocore"}),
        ("sandyard.app.serving", {"mcp", "botocore"}),
    ],
)
def test_nobody_waits_for_what_he_does_not_use(module: str, absent: set[str]) -> None:
    command = [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    assert module in loaded
    assert not loaded & absent
