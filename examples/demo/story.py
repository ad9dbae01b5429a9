"""The teller: chapters, timed steps, and checks that end the story when they fail."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import Console


class StoryBrokenError(Exception):
    """A check failed: what was promised is not so."""


@dataclass
class Story:
    """Prints what happens, keeps the timings, and counts the checks."""

    console: Console
    timings: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    checks: int = 0
    _chapters: int = 0

    def chapter(self, title: str) -> None:
        self._chapters += 1
        self.console.print()
        self.console.print(f"[bold cyan]{self._chapters}. {escape(title)}[/]")

    def say(self, text: str) -> None:
        self.console.print(f"   {escape(text)}", highlight=False)

    def quote(self, text: str) -> None:
        """Print what an agent said."""
        for line in text.splitlines():
            self.console.print(f"   [italic yellow]│ {escape(line)}[/]", highlight=False, soft_wrap=True)

    def token(self, text: str) -> None:
        """Print a piece of a stream where the last one ended."""
        self.console.print(f"[italic yellow]{escape(text)}[/]", end="", highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, what: str) -> Generator[None]:
        """Time the block; show that something goes on while it does."""
        started = time.perf_counter()
        with self.console.status(f"{escape(what)} …"):
            yield
        self.took(what, time.perf_counter() - started)

    def took(self, what: str, seconds: float) -> None:
        """Enter a time that was measured elsewhere."""
        self.timings.append((what, seconds))
        self.console.print(f"   {escape(what)} [dim]{human(seconds)}[/]", highlight=False)

    def check(self, holds: object, sentence: str) -> None:
        """Print the sentence with a tick if it holds.

        Raises:
            StoryBrokenError: it does not hold.
        """
        if not holds:
            self.console.print(f"   [bold red]✗ {escape(sentence)}[/]", highlight=False, soft_wrap=True)
            raise StoryBrokenError(sentence)
        self.checks += 1
        self.console.print(f"   [green]✓[/] {escape(sentence)}", highlight=False, soft_wrap=True)

    def summary(self) -> None:
        table = Table("step", "time", box=None, padding=(0, 3), title=f"{self.checks} checks passed", title_justify="left")
        table.columns[1].justify = "right"
        for what, seconds in self.timings:
            table.add_row(escape(what), human(seconds))
        self.console.print()
        self.console.print(table)


def human(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
