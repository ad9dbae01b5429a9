"""The keeper outlives servers, is replaced when it dies itself, and leaves when nobody needs it."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from sandyard.domain.errors import SandboxGone
from support.sandboxes import Rig, ended, keepers, lives, rig, until_gone

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

SERVER = """
import asyncio, sys
from pathlib import Path
from support.sandboxes import Rig
import time
async def main():
    made = Rig(Path(sys.argv[1]))
    await made.backend.open()
    await made.backend.start(made.spec("box", ends_at=time.time() + float(sys.argv[2])))
    await made.result("box", "token = 'kept'")
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@asynccontextmanager
async def server(data: Path, seconds: float = 300) -> AsyncGenerator[Process]:
    """Run a server of its own that has started one sandbox, to be killed."""
    environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, str(data), str(seconds), stdout=PIPE, env=environment)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.promise("process.adoption", "process.proxy_inside")
async def test_a_killed_servers_sandboxes_are_adopted_with_their_memory(tmp_path: Path) -> None:
    made = Rig(tmp_path / "data")
    async with server(made.data) as killed:
        killed.kill()
    await made.backend.open()
    try:
        assert [(found.sandbox_id, found.frozen) for found in await made.backend.list()] == [("box", False)]
        assert await made.result("box", "result = token") == "kept"
        assert set(made.listeners) == {"box"}
        await made.backend.freeze("box")
        assert [found.frozen for found in await made.backend.list()] == [True]
        await made.backend.thaw("box")
        assert await made.result("box", "result = token") == "kept"
    finally:
        await made.backend.shutdown()
    assert keepers(made.data) == []


@pytest.mark.promise("process.keeper_replaced", "process.proxy_inside")
async def test_a_killed_keeper_is_replaced_and_adopts(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await made.backend.start(made.spec("box"))
        await made.backend.start(made.spec("frozen"))
        await made.result("box", "token = 'kept'")
        await made.backend.freeze("frozen")
        first = made.keeper()
        os.kill(first, 9)
        await until_gone(first)
        assert await made.result("box", "result = token") == "kept"
        assert made.keeper() != first
        assert {found.sandbox_id: found.frozen for found in await made.backend.list()} == {"box": False, "frozen": True}
        await made.backend.thaw("frozen")
        assert await made.result("frozen", "result = 1") == 1
        await made.backend.start(made.spec("fresh"))
        assert await made.result("fresh", "result = 1") == 1
        asking = asyncio.create_task(
            made.result("box", "import socket; result = socket.create_connection(('127.0.0.1', 3128), 10).recv(1).decode()")
        )
        async with asyncio.timeout(10):
            sock, _ = await asyncio.get_running_loop().sock_accept(made.listeners["box"])
        with sock:
            sock.send(b"x")
        assert await asking == "x"
        pid = made.first("box")
        os.kill(pid, 9)
        exited = await ended(made.backend)
        assert (exited.sandbox_id, exited.reason) == ("box", "The sandbox's first process was killed")
        await made.backend.stop("frozen")
        with pytest.raises(SandboxGone):
            await made.backend.connect("frozen", 8080)


@pytest.mark.promise("process.adoption", "process.keeper_replaced")
async def test_server_and_keeper_killed_together(tmp_path: Path) -> None:
    made = Rig(tmp_path / "data")
    async with server(made.data) as killed:
        keeper = made.keeper()
        killed.kill()
        os.kill(keeper, 9)
        await until_gone(keeper)
    await made.backend.open()
    try:
        assert await made.result("box", "result = token") == "kept"
        assert set(made.listeners) == {"box"}
    finally:
        await made.backend.shutdown()


@pytest.mark.promise("process.expiry")
@pytest.mark.slow
async def test_without_a_server_the_keeper_ends_sandboxes_at_their_time_and_leaves(tmp_path: Path) -> None:
    made = Rig(tmp_path / "data")
    async with server(made.data, seconds=4) as killed:
        keeper, first = made.keeper(), made.first("box")
        begun = time.monotonic()
        killed.kill()
        await until_gone(first)
        assert time.monotonic() - begun < 10
        await until_gone(keeper)
    assert not lives(keeper)
    assert not (made.data / "keeper.sock").exists()
    await made.backend.open()
    try:
        exited = await ended(made.backend)
        assert (exited.sandbox_id, exited.reason) == ("box", "The sandbox reached the end of its time")
    finally:
        await made.backend.shutdown()


@pytest.mark.promise("process.end_told")
async def test_an_end_that_no_server_saw_is_told_to_the_next(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await made.backend.start(made.spec("box"))
        first = made.first("box")
        await made.result("box", "import os, threading; threading.Timer(0.3, os._exit, [7]).start(); print('bye', flush=True)")
        await made.backend.close()
        await until_gone(first)
        made.backend = made.another()
        await made.backend.open()
        exited = await ended(made.backend)
        assert (exited.sandbox_id, exited.exit_code, exited.output) == ("box", 7, "bye\n")


@pytest.mark.promise("process.one_keeper")
async def test_one_keeper_whose_socket_is_its_owners(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        socket_path = made.data / "keeper.sock"
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
        keeper = made.keeper()
        await made.backend.start(made.spec("box"))
        await made.backend.close()
        made.backend = made.another()
        await made.backend.open()
        assert keepers(made.data) == [keeper]
        assert await made.result("box", "result = 1") == 1
