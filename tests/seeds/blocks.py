"""The fenced blocks of the seed documents, and the errata without which no implementation could run them."""

from __future__ import annotations

import os
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
DOCUMENTS = tuple(sorted((HERE / "documents").glob("*.md")))
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<source>.*?)^ *```$", re.MULTILINE | re.DOTALL)


def _as_method(match: re.Match[str]) -> str:
    name = "__init__" if match["name"] == "GatewayClient" else match["name"]
    return f"def {name}(self, {match['parameters'].strip()}){match['returns'] or ''}: ...\n"


ERRATA: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str], str], ...] = (
    (
        "hyphen",
        re.compile(r"^((?:from|import) )ppio-agent-sandbox", re.MULTILINE),
        r"\1ppio_agent_sandbox",
        "A hyphen in an import: `ppio-agent-sandbox` is read as `ppio_agent_sandbox`.",
    ),
    ("regex", re.compile(r"\bregex="), "pattern=", "`Field(…, regex=…)` is pydantic 1's spelling of `pattern`."),
    (
        "bind",
        re.compile(r"\bwith logger\.bind\("),
        "with structlog.contextvars.bound_contextvars(",
        "structlog's `logger.bind(…)` is no context manager; `structlog.contextvars.bound_contextvars(…)` is.",
    ),
    (
        "signature",
        re.compile(r"\A(?P<name>\w+)\((?P<parameters>\s*\w+: .*)\)(?P<returns> -> [^\n]+)?\n\Z", re.DOTALL),
        _as_method,
        "A signature alone is no Python: it is read as that of a method of `GatewayClient`.",
    ),
    (
        "elision",
        re.compile(r"\bclient\.run\(\.\.\."),
        "client.run(*call",
        "`...` in place of a call's arguments is read as `*call`, which the prelude defines.",
    ),
    ("messages", re.compile(r"\bmessages=\[\.\.\.\]"), "messages=messages", "`messages=[...]` is read as the prelude's messages."),
    (
        "return",
        re.compile(r"\A.*^    return .*\Z", re.DOTALL | re.MULTILINE),
        lambda match: "def workflow():\n" + textwrap.indent(match[0], "    "),
        "A `return` outside of a function: the sample is read as the body of one, which is called.",
    ),
)
"""Name, what is printed, what is read instead, and the sentence for the docs (seed-resolutions, known errata)."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the document's number, the line of its fence, its heading, and what stands in it."""

    document: str
    line: int
    language: str
    heading: str
    printed: str

    @property
    def key(self) -> str:
        """`document:line`, as in `001:1214`."""
        return f"{self.document}:{self.line}"

    @property
    def errata(self) -> tuple[str, ...]:
        """Names of the errata that the block needs."""
        return tuple(name for name, pattern, _, _ in ERRATA if self._needs(name, pattern))

    @property
    def source(self) -> str:
        """The block with its errata mended, and nothing else changed."""
        text = self.printed
        for name, pattern, mended, _ in ERRATA:
            if self._needs(name, pattern):
                text = pattern.sub(mended, text)
        return text

    def _needs(self, name: str, pattern: re.Pattern[str]) -> bool:
        return self.key == "004:243" if name == "return" else pattern.search(self.printed) is not None


def blocks_of(path: Path) -> list[Block]:
    """Return every fenced block of a document, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            document=path.name[:3],
            line=text.count("\n", 0, match.start()) + 1,
            language=match["language"],
            heading=_heading(text[: match.start()]),
            printed=textwrap.dedent(match["source"]),
        )
        for match in _FENCE.finditer(text)
    ]


def python_blocks() -> dict[str, Block]:
    """Return the Python blocks of all documents by key."""
    return {block.key: block for path in DOCUMENTS for block in blocks_of(path) if block.language == "python"}


def originals() -> Path:
    """Return the directory of the documents themselves: `SANDYARD_SEEDS`, else `shared/seeds` beside the checkout. It may be missing."""
    told = os.environ.get("SANDYARD_SEEDS")
    return Path(told) if told else HERE.parents[1].parent / "shared" / "seeds"


def _heading(before: str) -> str:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", before), re.MULTILINE)
    return headings[-1] if headings else ""
