"""The last step of the template's build: every kernel has to work here, and what a first run writes (caches) is written."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandkit.interpreter.kernels import Kernel, new_context
from sandkit.interpreter.languages import find
from sandkit.interpreter.launching import launch

if TYPE_CHECKING:
    from collections.abc import Mapping

_IMPORTED = ("pandas, bs4, openpyxl, requests", "matplotlib.pyplot, PIL.Image, e2b_charts, ipykernel.kernelapp")
"""What people import most, and kernels do: compiled now, half by each of a build's two cores, and never again."""
_PLOT = """\
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.title("ready")
plt.show()
print("ready")"""
_CODE = {"python": _PLOT, "bash": "echo ready", "javascript": "console.log('ready')"}


async def check() -> int:
    """Run a line in each language; return 1 where one does not answer as it should."""
    context = new_context()
    compiled = await asyncio.gather(*(_compiles(names) for names in _IMPORTED))
    works = await asyncio.gather(*(_works(language, code, context) for language, code in _CODE.items()))
    context.term()
    return 0 if all(compiled) and all(works) else 1


async def _compiles(names: str) -> bool:
    """Import modules in a process of their own, which writes what they compile to."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", f"import {names}")
    return await process.wait() == 0


async def _works(name: str, code: str, context: Any) -> bool:
    language = find(name)
    told: list[Mapping[str, Any]] = []

    async def keep(item: Mapping[str, Any]) -> None:
        told.append(item)

    kernel = await Kernel.start(launch(language, str(Path.home())), language, context)
    try:
        await kernel.execute(code, keep)
    finally:
        await kernel.stop()
    works = any(item["type"] == "stdout" and "ready" in item["text"] for item in told)
    print(f"{name}: ready" if works else f"{name}: {told}", flush=True)  # noqa: T201 (the build's log)
    return works


if __name__ == "__main__":
    sys.exit(asyncio.run(check()))
