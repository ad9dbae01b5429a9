"""What sandboxes are told of without a server: which features are refused, when a line was printed, what a processor did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from sandyard.domain.sandboxes import Sandbox, SandboxState
from sandyard.domain.specs import Usage
from sandyard.services.metering import KEPT, Metering
from sandyard.services.outputs import Outputs
from sandyard.web.sandboxes.wishes import ABSENT

if TYPE_CHECKING:
    from sandyard.services.context import Context

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sandboxes.md"
ROW = Sandbox(id="s1", owner="ann", template_id="t", build_id="b", state=SandboxState.RUNNING, created_at=1000.0, ends_at=9000.0)


@dataclass
class Parts:
    """The clock, a sandbox's output and its use, as a test wants them."""

    at: float = 1000.0
    printed: bytes = b""
    kept: int = 256 * 1024
    used: float = 0.0
    supervision: Any = field(init=False)
    clock: Any = field(init=False)
    meters: Any = field(init=False)

    def __post_init__(self) -> None:
        self.supervision = self.clock = self.meters = self

    def now(self) -> float:
        return self.at

    async def output(self, sandbox_id: str, offset: int = 0) -> tuple[bytes, int]:
        assert (sandbox_id, offset) == ("s1", 0)
        return self.printed[-self.kept :], len(self.printed)

    async def usage(self, sandbox_id: str) -> Usage:
        assert sandbox_id == "s1"
        return Usage(
            cpu_seconds=self.used,
            cpu_count=2.0,
            memory_bytes=10,
            memory_cache_bytes=1,
            memory_limit_bytes=20,
            disk_bytes=5,
            disk_limit_bytes=9,
        )


def context(parts: Parts) -> Context:
    return cast("Context", parts)


@pytest.mark.promise("sandboxes.options")
def test_the_page_lists_what_answers_501_and_why() -> None:
    page = PAGE.read_text()
    for feature, reason in ABSENT.items():
        assert f"{reason[0].upper()}{reason[1:]}." in page, feature


@pytest.mark.promise("sandboxes.logs")
async def test_a_line_lies_between_the_looks_that_it_came_between_and_stays_there() -> None:
    parts = Parts()
    outputs = Outputs(context(parts))
    parts.at, parts.printed = 1010.0, b"a\nb\n"
    first = await outputs.lines(ROW)
    assert [(line.at, line.text) for line in first] == [(1005.0, "a"), (1010.0, "b")]
    parts.at, parts.printed = 1030.0, b"a\nb\nc\nd"
    second = await outputs.lines(ROW)
    assert second[:2] == first
    assert [line.text for line in second] == ["a", "b", "c", "d"]
    assert 1010.0 < second[2].at < second[3].at == 1030.0
    parts.kept = 3
    assert await outputs.lines(ROW) == second[2:]
    parts.at, parts.printed, parts.kept = 1040.0, b"new\n", 100
    assert [(line.at, line.text) for line in await outputs.lines(ROW)] == [(1040.0, "new")]


@pytest.mark.promise("sandboxes.logs")
async def test_many_looks_are_remembered_in_little_room() -> None:
    parts = Parts()
    outputs = Outputs(context(parts))
    for number in range(1000):
        parts.at, parts.printed = 1000.0 + number, parts.printed + b"%d\n" % number
        times = [line.at for line in await outputs.lines(ROW)]
        assert times == sorted(set(times))


@pytest.mark.promise("sandboxes.metrics")
async def test_a_processor_s_share_is_of_all_processors_since_the_sample_before() -> None:
    parts = Parts()
    metering = Metering(context(parts))
    metering.follow("s1")
    parts.at, parts.used = 1010.0, 5.0
    await metering.metrics(ROW, None, None)
    parts.at, parts.used = 1020.0, 25.0
    found = await metering.metrics(ROW, None, None)
    assert [metric.cpu_percent for metric in found] == [25.0, 100.0]
    parts.at, parts.used = 1030.0, 1.0  # started anew
    assert [metric.cpu_percent for metric in await metering.metrics(ROW, 1025.0, None)] == [0.0]
    metering.rest("s1")
    parts.at = 1040.0
    assert len(await metering.metrics(ROW, None, None)) == 3
    metering.forget("s1")
    assert list(await metering.metrics(ROW, None, None)) == []


@pytest.mark.promise("sandboxes.metrics")
async def test_an_hour_of_samples_is_kept() -> None:
    parts = Parts()
    metering = Metering(context(parts))
    metering.follow("s1")
    for number in range(3 * KEPT):
        parts.at = 2000.0 + 10 * number
        assert len(await metering.metrics(ROW, None, None)) <= KEPT
    found = await metering.metrics(ROW, None, None)
    assert found[-1].at == parts.at
    assert len(found) >= KEPT * 0.9 - 1
