"""Agents on the memory back end: threads of the server, but Python as any interpreter runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.packages import ECHO, write_agent

if TYPE_CHECKING:
    from pathlib import Path

    from support.platform import Platform

pytestmark = pytest.mark.anyio


@pytest.mark.promise("memory.plain-python")
async def test_an_agent_s_annotations_are_evaluated(platform: Platform, tmp_path: Path) -> None:
    source = ECHO + "\ndef answer(request: Undefined):\n    return request\n"
    status = await platform.deploy(write_agent(tmp_path / "annotated", "annotated", source), expect="error")
    assert "name 'Undefined' is not defined" in status["reason"]["output"]
