"""Report how long functions and files are, and fail past the limits: how the code should look, held by a number.

A function's length is every line from its `def` to its end, docstring included.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AREAS = ("packages", "tests", "examples", "docs_src", "benchmarks", "scripts")
SHORT = 25
SHORT_SHARE = 0.9
LONGEST_FUNCTION = 80
LONGEST_FILE = 400


@dataclass(frozen=True, slots=True)
class Function:
    """One function and where it stands."""

    place: str
    lines: int


def functions(path: Path) -> list[Function]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [Function(f"{path.relative_to(ROOT)}:{n.lineno} {n.name}", (n.end_lineno or n.lineno) - n.lineno + 1) for n in nodes]


def report(area: str) -> list[str]:
    """Print the area's line and return what is past the limits."""
    paths = sorted((ROOT / area).rglob("*.py"))
    found = [function for path in paths for function in functions(path)]
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    share = sum(f.lines <= SHORT for f in found) / len(found) if found else 1.0
    longest = max((f.lines for f in found), default=0)
    print(f"{area:<11}{len(paths):>5} files, longest {max(sizes.values(), default=0):>4} lines;", end=" ")
    print(f"{len(found):>5} functions, {share:6.1%} within {SHORT} lines, longest {longest}")
    too_long = [f"{path.relative_to(ROOT)} has {size} lines (limit {LONGEST_FILE})" for path, size in sizes.items() if size > LONGEST_FILE]
    too_long += [f"{f.place} has {f.lines} lines (limit {LONGEST_FUNCTION})" for f in found if f.lines > LONGEST_FUNCTION]
    if share < SHORT_SHARE:
        over = sorted((f for f in found if f.lines > SHORT), key=lambda f: -f.lines)
        too_long.append(f"{area}: only {share:.1%} of functions have {SHORT} lines or fewer; the longest: {[f.place for f in over[:5]]}")
    return too_long


def main() -> int:
    """Report every area; 1 if a limit is passed."""
    problems = [problem for area in AREAS for problem in report(area)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
