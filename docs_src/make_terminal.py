"""Record docs/terminal.svg: the real commands, on a real terminal, against a real platform: `python docs_src/make_terminal.py`."""

from __future__ import annotations

import asyncio
import io
import re
import shlex
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "terminal.svg"
COMMANDS = (
    "init weather",
    "deploy weather",
    "list",
    "invoke weather --input 'Will it rain?'",
    "doctor",
)
STEP = re.compile(r"(\r?\n|\r|\x1b\[1A|\x1b\[2K|\x1b\[\?25[lh])")


def settled(shown: str) -> str:
    """Return what stays on the screen: spinners are written over, and go."""
    lines = [""]
    row = 0
    for piece in STEP.split(shown):
        match piece:
            case "\n" | "\r\n":
                row += 1
                lines += [""] * (row == len(lines))
            case "\x1b[1A":
                row -= 1
            case "\x1b[2K":
                lines[row] = ""
            case "\r" | "\x1b[?25l" | "\x1b[?25h":
                pass
            case text:
                lines[row] += text
    return "\n".join(lines).rstrip("\n")


async def record() -> list[tuple[str, str]]:
    """Return each command with what it showed."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.cli import Cli  # noqa: PLC0415 (the tests' own terminal and platform, found by the line above)
    from support.platform import Platform  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        async with Platform(Path(directory) / "data", backend="process") as platform:
            cli = Cli(Path(directory), platform.env)
            shown = [await cli.on_terminal(*shlex.split(command)) for command in COMMANDS]
    return [(command, settled(text).replace(directory, "~")) for command, text in zip(COMMANDS, shown, strict=True)]


def picture(recorded: list[tuple[str, str]]) -> str:
    console = Console(record=True, width=88, file=io.StringIO(), force_terminal=True)
    for command, shown in recorded:
        console.print(Text.assemble(("$ ", "green"), (f"ppio-sandbox-cli agent {command}", "bold")))
        console.print(Text.from_ansi(shown))
        console.print()
    return console.export_svg(title="ppio-sandbox-cli")


if __name__ == "__main__":
    PICTURE.write_text(picture(asyncio.run(record())), encoding="utf-8")
