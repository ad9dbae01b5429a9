"""Agents that are started and never listen, as many as there are turns: another one starts all the same."""

from __future__ import annotations

import anyio
import pytest

from sandkit.wire.errors import ApiError
from sandyard.services.admission import Admission

pytestmark = pytest.mark.anyio


@pytest.mark.promise("trust.turns")
async def test_a_start_that_takes_too_long_hands_its_turn_on() -> None:
    admission = Admission(places=10, starting=2, queue=1, turn_seconds=0.05)
    began: list[str] = []

    async def hang(sandbox_id: str) -> None:
        async with admission.start(sandbox_id):
            began.append(sandbox_id)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        for name in ("a", "b", "c"):
            tasks.start_soon(hang, name)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ApiError):
            async with admission.start("too many"):
                pass
        with anyio.fail_after(10):
            while "c" not in began:  # noqa: ASYNC110 (a turn is handed on by the clock)
                await anyio.sleep(0.01)
            async with admission.start("d"):
                assert admission.starting == {"a", "b", "c", "d"}
        tasks.cancel_scope.cancel()
    assert admission.starting == frozenset()
    async with admission.start("e"), admission.start("f"):
        assert admission.starting == {"e", "f"}
