"""The documents are the specification's own, none of their blocks is left out, and the docs say how each one stands."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from seeds import gaps
from seeds.blocks import DOCUMENTS, originals, python_blocks
from seeds.kinds import GatewayProgram, Program
from seeds.register import REGISTER, TEMPLATES

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_seed_coverage", ROOT / "docs_src" / "make_seed_coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.promise("seeds.documents")
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem[:3])
def test_a_document_is_the_specification_s_word_for_word(path: Path) -> None:
    original = originals() / path.name
    if not original.exists():
        pytest.skip(
            f"the specification itself does not lie beside this checkout; SANDYARD_SEEDS may name its directory ({original.parent})"
        )
    assert path.read_bytes() == original.read_bytes()


@pytest.mark.promise("seeds.documents")
def test_each_python_block_is_accounted_for() -> None:
    assert list(REGISTER) == list(python_blocks())
    assert [path.stem[:3] for path in DOCUMENTS] == ["000", "001", "002", "003", "004"]


@pytest.mark.promise("seeds.documents")
def test_no_record_is_of_something_else() -> None:
    assert set(gaps.SAMPLES) <= {key for key, kind in REGISTER.items() if isinstance(kind, Program | GatewayProgram)}
    assert set(gaps.LISTINGS) <= set(REGISTER)
    assert {name for kind in REGISTER.values() if isinstance(kind, Program) for name in kind.templates} == set(TEMPLATES)


@pytest.mark.promise("seeds.coverage")
def test_the_page_says_how_each_block_stands() -> None:
    page = (ROOT / "docs" / "seed-coverage.md").read_text(encoding="utf-8")
    assert generator().rendered() == page, "run: python docs_src/make_seed_coverage.py"
