"""The table of abuse cases is what records and tests say, and no case is without a record."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_gateway_abuse", ROOT / "docs_src" / "make_gateway_abuse.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.promise("abuse.table")
def test_every_case_has_a_record_with_a_test_or_a_reason() -> None:
    make = maker()
    known, proven = make.cases(), make.proofs()
    assert [number for number in make.CASES if not known.get(number)] == []
    bare = [number for number in make.CASES if not any(promise.gap or proven.get(promise.id) for promise in known[number])]
    assert bare == []


@pytest.mark.promise("abuse.table")
def test_the_table_is_what_records_and_tests_say() -> None:
    make = maker()
    page = make.PAGE.read_text()
    assert make.rendered(page) == page, "run: python docs_src/make_gateway_abuse.py"
