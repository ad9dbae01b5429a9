"""Every sample of seed 004 runs, as it is printed but for the errata, against a real gateway with real prefabs in real sandboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from seeds import gaps
from seeds.blocks import python_blocks
from seeds.gateway_register import GATEWAY
from seeds.gateway_stage import GatewayStage
from seeds.kinds import GatewayProgram, Play
from support.model_server import model_server
from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]
BLOCKS = python_blocks()
PLAYS = [
    pytest.param(key, play, id=f"{key}-{number}")
    for key, kind in GATEWAY.items()
    if isinstance(kind, GatewayProgram)
    for number, play in enumerate(kind.plays)
]


@pytest.fixture(scope="module")
async def gateway_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[GatewayStage]:
    root = tmp_path_factory.mktemp("gateway-stage")
    with model_server("127.0.0.2") as model_url:
        address = model_url.removeprefix("http://").removesuffix("/v1")
        async with Platform(root / "data", "--egress-allow", address, backend="process") as platform:
            yield await GatewayStage.make(platform, model_url, root)


@pytest.mark.promise("seeds.samples-run")
@pytest.mark.parametrize(("key", "play"), PLAYS)
async def test_a_gateway_sample_runs(gateway_stage: GatewayStage, key: str, play: Play, tmp_path: Path) -> None:
    code, out, err = await gateway_stage.play(BLOCKS[key].source, play, tmp_path)
    gap = gaps.SAMPLES.get(key)
    if gap is not None:
        assert gap.error in err, f"this runs now, or fails otherwise: look at its record in gaps.py\n{err}"
        return
    assert (code, err) == (0, ""), f"{out}\n{err}"
    assert [text for text in play.printed if text not in out] == [], out
