"""The SQLite store in a file and in memory, held by the suite that ships with the port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandyard.store import SqliteStore
from sandyard.store.conformance import CASES as SANDBOXES
from sandyard.store.conformance import run_case
from sandyard.store.conformance_accounting import CASES as ACCOUNTING
from sandyard.store.conformance_gateway import CASES as GATEWAY
from sandyard.store.conformance_volumes import CASES as VOLUMES

if TYPE_CHECKING:
    from pathlib import Path

CASES = SANDBOXES | GATEWAY | ACCOUNTING | VOLUMES
pytestmark = [pytest.mark.anyio, pytest.mark.promise("store.conditional_change", "store.builds_and_tags", "store.forgets")]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("place", ["file", "memory"])
async def test_store(case: str, place: str, tmp_path: Path) -> None:
    store = await SqliteStore.open(":memory:" if place == "memory" else tmp_path / "sandyard.db")
    try:
        await run_case(CASES[case], store)
    finally:
        await store.close()
