"""The SQLite store in a file and in memory, held by the suite that ships with the port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandyard.store import SqliteStore
from sandyard.store.conformance import CASES, run_case

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.promise("store.conditional_change", "store.builds_and_tags", "store.forgets")]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("place", ["file", "memory"])
async def test_store(case: str, place: str, tmp_path: Path) -> None:
    store = await SqliteStore.open(":memory:" if place == "memory" else tmp_path / "sandyard.db")
    try:
        await run_case(CASES[case], store)
    finally:
        await store.close()
