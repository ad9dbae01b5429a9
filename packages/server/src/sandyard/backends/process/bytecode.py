"""The guest's modules, compiled ahead: a guest runs with `-B` and from a read-only mount, so it would compile them at every start."""

from __future__ import annotations

import compileall
from pathlib import Path

import sandkit


def compile_guest() -> None:
    """Write what is not there or out of date. An installation that we may not write stays as it is: starts take 5 ms more."""
    kit = Path(sandkit.__file__).resolve().parent
    compileall.compile_file(kit / "__init__.py", quiet=2)
    compileall.compile_dir(kit / "guest", quiet=2)
