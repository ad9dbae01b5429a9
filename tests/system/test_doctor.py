"""`sandyard doctor` and `serve` on a machine that starts sandboxes, and on one whose kernel was told not to."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest

from support.namespaces import map_ids
from support.platform import command, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.promise("serve.doctor")]


async def test_doctor_starts_one_sandbox_and_says_what_it_has() -> None:
    code, out, err = await run("doctor")
    assert (code, err) == (0, "")
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in out.splitlines()[1:])}
    assert out.startswith("Sandboxes start here (back end: process).")
    assert said["namespaces"] == "user, pid, mount, net, ipc, uts, cgroup"
    assert said["uid per sandbox"] == ("own" if os.geteuid() == 0 else "shared")
    assert said["seccomp"] == "yes"


@pytest.mark.parametrize("words", [["doctor"], ["serve", "--api-port", "0", "--ingress-port", "0"]])
async def test_both_name_the_knob_that_forbids_it(words: list[str], tmp_path: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    script = f"echo ready; read go; exec sh -c '{forbid}' sh \"$@\""
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--user", "sh", "-c", script, "sh", *command(*words)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "SANDYARD_DATA_DIR": str(tmp_path / "data")},
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"ready\n"
        map_ids(process.pid)
        out, err = await process.communicate(b"go\n")
    assert (process.returncode, out) == (1, b"")
    assert b"error: " in err
    assert b"user.max_user_namespaces is 0" in err
    assert b"Traceback" not in err
