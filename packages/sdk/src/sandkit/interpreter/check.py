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

_PLOT = """\
import bs4, openpyxl, pandas, PIL.Image, requests
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.title("ready")
plt.show()
print("ready")"""
"""Imports what people import most, so that it is compiled then."""
_CODE = {"python": _PLOT, "bash": "echo ready", "javascript": "console.log('ready')"}


async def check() -> int:
    """Run a line in each language; return 1 where one does not answer as it should."""
    context = new_context()
    wrong = [language for language, code in _CODE.items() if not await _works(language, code, context)]
    context.term()
    return 1 if wrong else 0


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
