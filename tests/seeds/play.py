"""Run one sample as a program of its own: `python -m seeds.play DIRECTORY [PRELUDE...]`.

The directory holds `before.py`, `sample.py` and `after.py`; they are run one after the other in one namespace, each with `await` at
its top level if it has any, as in a notebook.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from pathlib import Path
from typing import Any

PRELUDES = ("prelude.py", "prelude_client.py")


def main(directory: Path, *preludes: str) -> None:
    """Run the preludes (those of agents and their callers, if none is named) and the directory's parts in a namespace called `__main__`."""
    names: dict[str, Any] = sys.modules["__main__"].__dict__
    for prelude in preludes or PRELUDES:
        run(Path(__file__).with_name(prelude), names)
    for part in ("before.py", "sample.py", "after.py"):
        run(directory / part, names)


def run(path: Path, names: dict[str, Any]) -> None:
    """Run one file; a loop of its own drives it if it awaits."""
    code = compile(path.read_text(encoding="utf-8"), str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, names)  # (this is what running it means)
    if inspect.iscoroutine(result):
        asyncio.run(result)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
