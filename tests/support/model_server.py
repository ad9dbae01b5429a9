"""The scripted model server of the examples, as a process for the length of a test."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def model_server(host: str = "127.0.0.1", delay: float = 0.0) -> Generator[str]:
    """Give its base URL (`http://host:port/v1`); `delay` is in seconds between the tokens of a stream."""
    command = [sys.executable, "-m", "examples.model_server", "--host", host, "--delay", str(delay)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
