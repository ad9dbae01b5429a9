"""The docs page: its code is the examples', its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentapp.config.model import NAMED, PLAIN, AppConfig
from agentapp.errors import AppError

pytestmark = pytest.mark.promise("agentapp.docs")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "agentscope.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_code_on_the_page_is_an_example() -> None:
    files = {path.read_text(encoding="utf-8") for path in (ROOT / "examples" / "agentscope").rglob("*.*")}
    shown = [code for language, code in BLOCK.findall(PAGE) if language in ("python", "yaml")]
    assert shown
    assert [code for code in shown if code not in files] == []


def test_every_key_of_the_configuration_is_on_the_page() -> None:
    table = PAGE.partition("## `agentapp.yaml`")[2].partition("\n## ")[0]
    sections = {**PLAIN, **NAMED}
    wanted = {name for name in AppConfig.model_fields if name not in (*sections, "missing")} | set(sections)
    wanted |= {field for section in sections.values() for field in section.model_fields}
    assert {key for key in wanted if f"`{key}" not in table} == set()


def test_every_status_on_the_page_is_the_code_s() -> None:
    told = {code: int(status) for status, code in re.findall(r"(\d{3}) `([A-Z_]+)`", PAGE)}
    known = {kind.code: kind.status for kind in _all(AppError)}
    assert {code for code, status in told.items() if code in known and known[code] != status} == set()
    assert {"INVALID_REQUEST", "SESSION_NOT_FOUND", "SESSION_BUSY", "SESSION_CONFLICT", "OVERLOADED"} <= set(told)


def _all(kind: type[AppError]) -> list[type[AppError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in _all(below))]
