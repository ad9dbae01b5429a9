"""Every sample of the documents runs, as it is printed but for the known errata."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from seeds import gaps
from seeds.blocks import python_blocks
from seeds.kinds import Play, Program, Server
from seeds.register import REGISTER
from seeds.stage import values_of

if TYPE_CHECKING:
    from pathlib import Path

    from seeds.stage import Stage

pytestmark = pytest.mark.anyio

BLOCKS = python_blocks()
PROGRAMS = {key: kind for key, kind in REGISTER.items() if isinstance(kind, Program)}
SERVERS = {key: kind for key, kind in REGISTER.items() if isinstance(kind, Server)}


def plays(programs: dict[str, Program]) -> list[object]:
    """Return the test cases of samples: one for each way to run them."""
    return [pytest.param(key, play, id=f"{key}-{i}") for key, program in programs.items() for i, play in enumerate(program.plays)]


async def check_play(stage: Stage, key: str, play: Play, scratch: Path) -> None:
    await stage.deploy(PROGRAMS[key].templates)
    code, out, err = await stage.play(BLOCKS[key].source, play, scratch)
    gap = gaps.SAMPLES.get(key)
    if gap is not None:
        assert gap.error in err, f"this runs now, or fails otherwise: look at its record in gaps.py\n{err}"
        return
    assert (code, err) == (0, ""), f"{out}\n{err}"
    assert [text for text in play.printed if text not in out] == [], out
    assert await stage.sandboxes() == []


async def check_server(stage: Stage, key: str) -> None:
    server = SERVERS[key]
    name = f"seed-{key.replace(':', '-')}"
    await stage.serve(name, BLOCKS[key].source, server)
    async with stage.client() as client:
        session = await client.create_session(name)
        try:
            if server.streams:
                found = [chunk async for chunk in session.invoke(dict(server.request), stream=True)]
                assert len(found) > 1
            else:
                found = values_of((await session.invoke(dict(server.request))).result)
            assert server.answer.format(sandbox_id=session.sandbox_id) in found
            ping = (await session.ping()).model_dump(mode="json")
            assert ping["status"] == "Healthy"
            assert {name: ping.get(name) for name in server.health} == server.health
        finally:
            await session.close()


@pytest.mark.promise("seeds.samples-run")
@pytest.mark.parametrize(("key", "play"), plays(PROGRAMS))
async def test_a_caller_s_sample_runs(stage: Stage, key: str, play: Play, tmp_path: Path) -> None:
    await check_play(stage, key, play, tmp_path)


@pytest.mark.promise("seeds.samples-run")
@pytest.mark.parametrize("key", [key for key, server in SERVERS.items() if not server.beside])  # a thread imports no neighbours
async def test_an_agent_s_sample_is_served(stage: Stage, key: str) -> None:
    await check_server(stage, key)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.promise("seeds.samples-run")
@pytest.mark.parametrize(("key", "play"), plays({key: program for key, program in PROGRAMS.items() if program.templates}))
async def test_a_caller_s_sample_runs_with_real_sandboxes(process_stage: Stage, key: str, play: Play, tmp_path: Path) -> None:
    await check_play(process_stage, key, play, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.promise("seeds.samples-run")
@pytest.mark.parametrize("key", list(SERVERS))
async def test_an_agent_s_sample_is_served_in_a_real_sandbox(process_stage: Stage, key: str) -> None:
    await check_server(process_stage, key)
