"""`agentscope run --reload`: the same command without the option, started again when the project's files change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from ppio_sandbox.cli import running

if TYPE_CHECKING:
    from pathlib import Path


def run_again(project: Path) -> int:
    """Run until Ctrl-C or SIGTERM; return the exit code."""
    options = [argument for argument in sys.argv[1:] if argument not in ("--reload", "run", str(project))]
    command = [sys.executable, "-m", "agentapp", "run", str(project.resolve()), *options]
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(running.keep_running(command, project, os.environ))
    return 0
