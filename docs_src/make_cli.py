"""Write the lists of docs/cli.md from the commands themselves: `python docs_src/make_cli.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ppio_sandbox.cli.app import cli
from sandyard.__main__ import app

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
PROGRAMS = {"sandyard": app, "ppio-sandbox-cli": cli}


def lines(name: str, command: Any) -> Iterator[str]:
    """Yield a command's lines, and those of the commands below it."""
    below = getattr(command, "commands", {})
    for word, each in below.items():
        yield from lines(f"{name} {word}", each)
    if not below:
        yield f"| `{name}{arguments(command)}` | {command.help.splitlines()[0]} | {options(command)} |\n"


def arguments(command: Any) -> str:
    wanted = [param for param in command.params if param.param_type_name == "argument"]
    return "".join(f" {param.name.upper()}" if param.required else f" [{param.name.upper()}]" for param in wanted)


def options(command: Any) -> str:
    return " ".join(f"`{param.opts[0]}`" for param in command.params if param.param_type_name == "option" and param.name != "help")


def rendered(page: str) -> str:
    """Return the page with its tables made anew."""
    for name, program in PROGRAMS.items():
        begin, end = f"<!-- begin: {name} -->\n", "<!-- end -->\n"
        before, _, rest = page.partition(begin)
        table = "| command | what it does | options |\n|---|---|---|\n" + "".join(lines(name, typer.main.get_command(program)))
        page = before + begin + table + end + rest.partition(end)[2]
    return page


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
