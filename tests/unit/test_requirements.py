"""Promises and tests hold each other: neither stands alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from requirements import all_promises

TESTS = Path(__file__).parents[1]


def named_in_tests() -> dict[str, list[str]]:
    """Return promise ids named by `pytest.mark.promise(...)` with the files that name them."""
    named: dict[str, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.promise":
                for argument in node.args:
                    named.setdefault(str(ast.literal_eval(argument)), []).append(path.name)
    return named


@pytest.mark.promise("house.promises-tested")
def test_each_promise_has_a_test_or_a_stated_gap() -> None:
    named = named_in_tests()
    assert [p.id for p in all_promises().values() if p.gap is None and p.id not in named] == []


@pytest.mark.promise("house.promises-tested")
def test_each_named_promise_exists() -> None:
    known = all_promises()
    assert {id_: files for id_, files in named_in_tests().items() if id_ not in known} == {}
