"""A file that is larger than a client may be: up and down through a real platform, in a process whose memory is looked at."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.gateways import Kind, names_in

if TYPE_CHECKING:
    from pathlib import Path

    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]
MEBI = 2**20
SIZE = 200 * MEBI
MOST = 48 * MEBI
PROGRAM = """
import asyncio, filecmp, os, resource, sys
import gateway_sdk

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def main(kind, small, large, back):
    with gateway_sdk.GatewayClient(api_key=os.environ["KEY"]) as client:
        client.download_file(client.upload_input_file(small), back)
        before = peak()
        client.download_file(client.upload_input_file(large), back)
    return peak() - before

async def amain(kind, small, large, back):
    async with gateway_sdk.AsyncGatewayClient(api_key=os.environ["KEY"]) as client:
        await client.download_file(await client.upload_input_file(small), back)
        before = peak()
        await client.download_file(await client.upload_input_file(large), back)
    return peak() - before

grown = main(*sys.argv[1:]) if sys.argv[1] == "sync" else asyncio.run(amain(*sys.argv[1:]))
assert filecmp.cmp(sys.argv[3], sys.argv[4], shallow=False)
print(grown)
"""


@pytest.mark.promise("gateway-sdk.uploads", "gateway-sdk.downloads")
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_large_file_goes_up_and_comes_back_in_constant_memory(platform: Platform, kind: Kind, tmp_path: Path) -> None:
    small, large, back = tmp_path / "small", tmp_path / "large", tmp_path / "back"
    small.write_bytes(os.urandom(MEBI))
    with large.open("wb") as file:
        for _ in range(SIZE // MEBI):
            file.write(small.read_bytes())
    before = platform.peak_memory()
    grown = await asyncio.to_thread(moved, platform, [kind, str(small), str(large), str(back)])
    assert grown < MOST
    assert platform.peak_memory() - before < 3 * MOST
    assert names_in(tmp_path) == ["back", "large", "small"]


def moved(platform: Platform, arguments: list[str]) -> int:
    env = {"GATEWAY_BASE_URL": platform.api_url, "KEY": platform.key}
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=env, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
