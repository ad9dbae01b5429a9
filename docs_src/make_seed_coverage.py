"""Write docs/seed-coverage.md from the tests' own register: `python docs_src/make_seed_coverage.py`."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the register is the tests', and this page shows it

from seeds import gaps  # noqa: E402 (after the path)
from seeds.blocks import DOCUMENTS, ERRATA, HERE, Block, blocks_of, python_blocks  # noqa: E402
from seeds.gateway_register import PLACEHOLDERS as GATEWAY_PLACEHOLDERS  # noqa: E402
from seeds.kinds import App, Fragment, GatewayProgram, Kind, Listing, Program, Server, Tree  # noqa: E402
from seeds.register import REGISTER, TEMPLATES  # noqa: E402
from seeds.stage import PLACEHOLDERS  # noqa: E402

PAGE = ROOT / "docs" / "seed-coverage.md"
INTRODUCTION = """\
# Seed coverage

The specification is these documents, kept word for word in [tests/seeds/documents](../tests/seeds/documents). This page lists every
Python block in them with its state; `docs_src/make_seed_coverage.py` writes it from the register that the tests in
[tests/seeds](../tests/seeds) obey. A state is never an opinion: what is green here is a test that passes, and for each gap a test proves
that it is still there, for the reason that stands beside it.

* **runs**: a caller's sample, run as a program of its own against a running platform: what calls an agent runs on the memory back end and
  again with real sandboxes. Warnings are errors, nothing may be written to standard error, and no sandbox may be left.
  What calls the gateway runs against one with the prefabs of [examples/prefabs](../examples/prefabs), in real sandboxes.
* **served**: an agent's sample, deployed as it stands, called and asked for its health, also in a real sandbox.
* **app**: an AgentScope app, served as it stands by `agentscope run` against a scripted model server and a real MCP server, and asked
  ([tests/agentapps](../tests/agentapps)). The document's addresses of a model and an MCP server are the tests' own, and samples that import
  nothing find what the first sample imports.
* **true**: an interface listing, compared with the code by introspection: names, kinds, parameters, defaults, annotations, fields, enum
  values, base classes, docstrings. The code may take more and return less than is listed. Names with a leading underscore are sketches
  of an inside and are not compared.
* **no program**: a directory tree in a Python fence, each of whose files must be importable, or a fragment with nothing to run or compare.
* **gap**: not so yet; the reason says why.

"Row" is a row of the resolutions: the documents contradict each other in places, and each row says what holds then.
"""


def rendered() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, summary(), *(document(path) for path in DOCUMENTS), errata(), preludes()])


def summary() -> str:
    """Return how many blocks are in which state."""
    counts = Counter(state(key, kind) for key, kind in REGISTER.items())
    rows = [f"| {name} | {count} |" for name, count in sorted(counts.items())]
    return "\n".join(["| state | blocks |", "|---|---|", *rows, ""])


def document(path: Path) -> str:
    """Return the table of one document."""
    blocks = [block for block in blocks_of(path) if block.language == "python"]
    return "\n".join([f"## {path.stem}", "", "| line | section | state | reason |", "|---|---|---|---|", *map(row, blocks), ""])


def row(block: Block) -> str:
    """Return the row of one block."""
    kind = REGISTER[block.key]
    link = f"[{block.line}](../tests/seeds/documents/{next(p.name for p in DOCUMENTS if p.name.startswith(block.document))})"
    return f"| {link} | {block.heading} | {state(block.key, kind)} | {reason(block, kind)} |"


def state(key: str, kind: Kind) -> str:
    """Return the word for how a block stands."""
    if key in gaps.SAMPLES or key in gaps.LISTINGS:
        return "**gap**"
    match kind:
        case Program() | GatewayProgram():
            return "runs"
        case Server():
            return "served"
        case App():
            return "app"
        case Listing():
            return "true"
        case Tree() | Fragment():
            return "no program"


def reason(block: Block, kind: Kind) -> str:
    """Return what there is to say: the gap, what differs on purpose, the errata, what was put beside it."""
    said = [gaps.SAMPLES[block.key].reason] if block.key in gaps.SAMPLES else []
    said += [f"`{name}`: {why}" for name, why in gaps.LISTINGS.get(block.key, {}).items()]
    if isinstance(kind, Listing):
        said += [f"`{name}` differs: {why}" for name, why in kind.decided.items()]
    if isinstance(kind, Tree):
        said.append("a directory tree")
    if isinstance(kind, Fragment):
        said.append(kind.reason)
    if isinstance(kind, Program | GatewayProgram | Server | App) and kind.note:
        said.append(kind.note)
    said += [f"erratum {name}" for name in block.errata]
    return "; ".join(said)


def errata() -> str:
    """Return the section on what is read otherwise than it is printed."""
    placeholders = ", ".join(f"`{printed}`" for printed in (*PLACEHOLDERS, *GATEWAY_PLACEHOLDERS))
    used = sorted({name for block in python_blocks().values() for name in block.errata})
    lines = [f"* **{name}**: {sentence}" for name, _, _, sentence in ERRATA if name in used]
    return "\n".join(
        [
            "## Errata",
            "",
            "No implementation could run these as they are printed; nothing else in a sample is changed, except that a reader's own",
            f"stands where the documents print {placeholders}.",
            "",
            *lines,
            "",
        ]
    )


def preludes() -> str:
    """Return the section that shows what samples find defined, and which agents they call."""
    names = "\n".join(f"| `{name}` | [{agent}.py](../tests/seeds/agents/{agent}.py) |" for name, agent in TEMPLATES.items())
    shown = [
        f"```python\n{(HERE / name).read_text(encoding='utf-8')}```\n" for name in ("prelude.py", "prelude_client.py", "prelude_gateway.py")
    ]
    return "\n".join(
        [
            "## What samples find",
            "",
            "Names that samples use and do not define. Agents get the first part, their callers the first two, callers of the",
            "gateway the third:",
            "",
            *shown,
            "Templates that samples call, each with the small real agent that is deployed under its name:",
            "",
            "| template | agent |",
            "|---|---|",
            names,
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
