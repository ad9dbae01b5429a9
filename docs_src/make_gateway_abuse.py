"""Write the table of docs/gateway-abuse.md from the promise records: `python docs_src/make_gateway_abuse.py`."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from requirements import all_promises  # noqa: E402 (the tests' register lies beside the tests)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from requirements import Promise

PAGE = ROOT / "docs" / "gateway-abuse.md"
BEGIN, END = "<!-- begin: docs_src/make_gateway_abuse.py -->\n", "<!-- end -->\n"
CASES = range(1, 97)
"""The numbers of the gateway contract's §4.3."""
_NUMBERS = re.compile(r"#(\d+)(?:-(\d+))?")


def cases() -> dict[int, list[Promise]]:
    """Return for each case the records that name its number; one about that case alone comes first."""
    found: dict[int, list[tuple[int, Promise]]] = {}
    for promise in all_promises().values():
        if "§4.3" in promise.source:
            numbers = _numbers(promise.source)
            for number in numbers:
                found.setdefault(number, []).append((len(numbers), promise))
    return {number: [promise for _, promise in sorted(held, key=lambda item: item[0])] for number, held in found.items()}


def proofs() -> dict[str, list[str]]:
    """Return for each promise the tests that prove it, as `file::function`."""
    tests = ROOT / "tests"
    proven: dict[str, list[str]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for id_ in _named(node):
                    proven.setdefault(id_, []).append(f"{path.relative_to(tests)}::{node.name}")
    return proven


def table() -> str:
    proven, known = proofs(), cases()
    rows = [_row(number, known.get(number, []), proven) for number in CASES]
    return "".join(["| case | what holds | proven by |\n", "|---|---|---|\n", *rows])


def rendered(page: str) -> str:
    """Return the page with its table made anew."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def _row(number: int, promises: Sequence[Promise], proven: Mapping[str, Sequence[str]]) -> str:
    said = "<br>".join(promise.text + (f" *Not kept: {promise.gap}*" if promise.gap else "") for promise in promises)
    tests = dict.fromkeys(test for promise in promises for test in proven.get(promise.id, ()))
    return f"| {number} | {said or '*no record*'} | {'<br>'.join(f'`{test}`' for test in tests) or '-'} |\n"


def _numbers(source: str) -> list[int]:
    return [number for first, last in _NUMBERS.findall(source) for number in range(int(first), int(last or first) + 1)]


def _named(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    marks = [mark for mark in node.decorator_list if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.promise"]
    return [str(ast.literal_eval(argument)) for mark in marks for argument in mark.args]


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
