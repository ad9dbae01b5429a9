"""Launchers that stand by: what they hold, whom they serve, and that they go."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandyard.backends.process import uids
from sandyard.backends.process.launcher import SPARE
from support.platform import until
from support.sandboxes import Rig, rig, until_gone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [pytest.mark.anyio, pytest.mark.promise("process.spares")]


@pytest.fixture
async def made(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        yield made


def spares(keeper: int) -> list[int]:
    """Return the launchers of a keeper that are ready: then they take that name."""
    try:
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == SPARE]
    except OSError:  # one has just gone
        return []


def opened(pid: int) -> dict[int, str]:
    return {int(entry.name): str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}


def groups(made: Rig) -> set[str]:
    return {path.name for path in Path("/sys/fs/cgroup").glob(f"*/sandyard-{uids.number(made.data):08x}/*") if path.is_dir()}


async def both(made: Rig) -> list[int]:
    """Return the launchers that stand by once there are two, the oldest first: the trial start's kind is the first."""
    keeper = made.keeper()

    async def there() -> bool:
        return len(spares(keeper)) == 2

    await until(there)
    return spares(keeper)


async def test_one_stands_by_with_nothing_and_is_the_next_sandboxs_alone(made: Rig) -> None:
    await made.backend.start(made.spec("one"))
    _, spare = await both(made)
    held = opened(spare)
    assert (held[0], held[1]) == ("/dev/null", "/dev/null")
    assert held[2].endswith("/logs/keeper.log")
    others = [target.partition(":")[0] for number, target in held.items() if number > 2 and target != "/dev/null"]
    assert others.count("socket") == 1
    assert set(others) <= {"socket", "user"}
    await made.backend.start(made.spec("two"))
    one, two = made.record("one"), made.record("two")
    assert two.outer == spare
    assert one.uid is None or one.uid != two.uid
    assert one.group != two.group


async def test_no_more_than_two_stand_by_whatever_is_started(made: Rig) -> None:
    few = replace(made.spec("few").limits, processes=50)
    wishes: tuple[dict[str, Any], ...] = ({}, {"system": "writable", "user": "user"}, {"limits": few})
    for number, changes in enumerate(wishes):
        await made.backend.start(made.spec(f"box{number}", **changes))
        await both(made)


async def test_it_goes_with_the_keeper_and_a_start_does_without_it(made: Rig) -> None:
    await made.backend.start(made.spec("one"))
    for spare in await both(made):
        os.kill(spare, signal.SIGKILL)
        await until_gone(spare)
    await made.backend.start(made.spec("two"))
    keeper, left = made.keeper(), spares(made.keeper())
    os.kill(keeper, signal.SIGKILL)
    for pid in (keeper, *left):
        await until_gone(pid)
    assert {found.sandbox_id for found in await made.backend.list()} == {"one", "two"}
    assert groups(made) <= {made.record(name).group for name in ("one", "two")}
