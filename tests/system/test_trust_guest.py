"""A guest that was taken over from inside: what it can write to the outside ends no keeper, no server and no other sandbox.

No agent gets that far (test_process_isolation): here root writes into the guest's descriptors from outside.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import pytest

from support.sandboxes import Rig, ended, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can open the descriptors of a guest"),
]

STATUS_FD, OUTPUT_FD = 5, 4


@pytest.fixture
async def box(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        await made.backend.start(made.spec("other"))
        await made.backend.start(made.spec("box"))
        yield made


def first(made: Rig) -> int:
    pid = made.record("box").first
    assert pid is not None
    return pid


def guests(made: Rig, descriptor: int, flags: int) -> int:
    """Return a new descriptor of what the guest of `box` holds as `descriptor`."""
    return os.open(f"/proc/{first(made)}/fd/{descriptor}", flags | os.O_NONBLOCK)


def write(fd: int, data: bytes) -> None:
    """Write what the pipe takes, until nobody reads any more."""
    try:
        while data:
            data = data[os.write(fd, data) :]
    except (BlockingIOError, BrokenPipeError):
        return


async def unharmed(made: Rig) -> None:
    with anyio.fail_after(20):
        assert await made.result("other", "result = 1") == 1
        assert {found.sandbox_id for found in await made.backend.list()} >= {"other"}


@pytest.mark.promise("trust.guest")
@pytest.mark.parametrize(
    "flood",
    [
        b"x" * 1_000_000,
        b"[" * 4000 + b"\n",
        b'{"event": "listening"}\n' * 40_000,
        b'{"event": "exited", "code": 3}\n' * 40_000,
        b"{}\n" * 300_000,
        b'{"event": ["exited"], "code": {}}\nnull\n17\n"x"\n\xff\xfe\n',
    ],
    ids=["endless line", "deep", "listening", "exited", "nothing", "nonsense"],
)
async def test_whatever_stands_in_the_status_pipe_the_keeper_goes_on(box: Rig, flood: bytes) -> None:
    keeper = box.keeper()
    pipe = guests(box, STATUS_FD, os.O_WRONLY)
    try:
        for _ in range(4):
            write(pipe, flood)
            await unharmed(box)
    finally:
        os.close(pipe)
    assert box.keeper() == keeper
    await box.backend.stop("box")
    await unharmed(box)


@pytest.mark.promise("trust.guest")
@pytest.mark.parametrize("said", [b'"code": ' + b"9" * 4000, b'"code": -5', b'"code": true, "signal": 1e9', b'"signal": 70000'])
async def test_an_end_is_told_with_the_codes_that_processes_have(box: Rig, said: bytes) -> None:
    pipe = guests(box, STATUS_FD, os.O_WRONLY)
    write(pipe, b'{"event": "exited", ' + said + b"}\n")
    write(pipe, b"[" * 4000 + b"\n")
    os.close(pipe)
    os.kill(first(box), 9)
    exited = await ended(box.backend)
    assert exited.sandbox_id == "box"
    assert exited.exit_code in (None, 1)
    assert exited.signal in (None, 9)
    await unharmed(box)


@pytest.mark.promise("trust.guest")
async def test_an_output_file_that_lies_about_its_length_is_read_within_bounds(box: Rig) -> None:
    file = guests(box, OUTPUT_FD, os.O_RDWR)
    try:
        os.pwrite(file, b"SANDOUT1" + b"\xff" * 8 + b"\xff" * 1000, 0)
        data, end = await box.backend.output("box")
        assert len(data) <= 256 * 1024
        os.ftruncate(file, 3)
        data, end = await box.backend.output("box", end)
        assert data == b""
    finally:
        os.close(file)
    os.kill(first(box), 9)
    assert (await ended(box.backend)).output == ""
    await unharmed(box)
