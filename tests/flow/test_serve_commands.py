"""`sandyard` as a command: one server per directory, what it leaves, what the light commands say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from support.packages import ECHO, pack, write_agent
from support.platform import Platform, PlatformEnded, command, run, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.mark.promise("serve.first-start")
async def test_the_first_start_makes_a_private_directory_and_env_prints_it(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data") as platform:
        assert stat.S_IMODE(platform.data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((platform.data_dir / "server.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((platform.data_dir / "secrets/api_key").stat().st_mode) == 0o600
        code, out, _ = await run("env", "--data-dir", str(platform.data_dir))
        assert code == 0
        assert dict(line.removeprefix("export ").split("=", 1) for line in out.splitlines()) == platform.env
        key = platform.key
        await platform.stop()
        await platform.start()
        assert platform.key == key


LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh22x", b"lo", 0x41))  # SIOCSIFFLAGS: up and running
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.promise("serve.defaults")
async def test_unless_told_otherwise_it_listens_on_loopback_on_8800_and_8801(tmp_path: Path) -> None:
    """In a network of its own, where these ports are free."""
    serve = command("serve", "--data-dir", str(tmp_path / "data"), "--backend", "memory")
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", LOOPBACK_UP, *serve), stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    sockets = ""
    async with asyncio.timeout(60):
        ready = await process.stdout.readline()
        if ready:
            sockets = await anyio.Path(f"/proc/{process.pid}/net/tcp").read_text()
            process.terminate()
        _, errors = await process.communicate()
    if errors.startswith(b"unshare: "):
        pytest.skip(f"this machine makes no such network: {errors.decode()}")
    assert ready.startswith(b"ready"), errors
    listening = {line.split()[1] for line in sockets.splitlines() if line.split()[3] == "0A"}
    assert listening == {"0100007F:2260", "0100007F:2261"}  # 127.0.0.1:8800 and :8801


@pytest.mark.promise("serve.env")
async def test_env_without_a_server_fails_clearly(tmp_path: Path) -> None:
    code, out, err = await run("env", "--data-dir", str(tmp_path))
    assert (code, out) == (1, "")
    assert "No server runs" in err
    async with Platform(tmp_path / "data") as platform:
        await platform.kill9()
        assert (platform.data_dir / "server.json").exists()
        code, out, err = await run("env", "--data-dir", str(platform.data_dir))
        assert (code, out) == (1, "")
        await platform.start()


@pytest.mark.promise("serve.one-server")
async def test_a_second_server_on_one_directory_is_refused(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data") as platform:
        with pytest.raises(PlatformEnded) as refused:
            await Platform(tmp_path / "data").start()
        assert "serve ended with 1" in str(refused.value)
        assert f"Another server runs on {tmp_path / 'data'} (process {platform.pid}" in str(refused.value)
        assert (await platform.api.get("/health")).status_code == 204


@pytest.mark.promise("serve.first-start")
async def test_a_directory_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(PlatformEnded) as refused:
        await Platform(tmp_path).start()
    assert "is not empty and no data directory" in str(refused.value)
    assert os.listdir(tmp_path) == ["precious.txt"]  # noqa: PTH208 (names are what is compared)


@pytest.mark.promise("serve.drain")
async def test_sigterm_ends_sandboxes_and_says_so_later(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data") as platform:
        await platform.deploy(write_agent(tmp_path / "echo"))
        sandbox = await platform.create("echo")
        await platform.stop()
        assert not (platform.data_dir / "server.json").exists()
        await platform.start()
        details = (await platform.api.get(f"/sandboxes/{sandbox['sandboxID']}")).json()["details"]
        assert (details["state"], details["reason"]) == ("stopped", "The server was shut down")


@pytest.mark.promise("serve.reconcile")
async def test_rows_whose_sandbox_is_gone_fail_at_the_next_start(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data") as platform:
        await platform.deploy(write_agent(tmp_path / "echo"))
        sandbox = await platform.create("echo")
        await platform.restart()  # on the memory back end a killed server takes its sandboxes along
        details = (await platform.api.get(f"/sandboxes/{sandbox['sandboxID']}")).json()["details"]
        assert (details["state"], details["reason"]) == ("failed", "The sandbox ended while the server was away")
        again = await platform.create("echo")
        assert (await platform.call(again)).status_code == 200


@pytest.mark.promise("serve.keys")
async def test_keys_are_made_listed_and_revoked_beside_a_running_server(platform: Platform) -> None:
    where = ("--data-dir", str(platform.data_dir))
    code, key, _ = await run("key", "create", "spare", *where)
    assert code == 0
    _, listed, _ = await run("key", "list", *where)
    row = next(line.split() for line in listed.splitlines() if line.endswith("spare"))
    assert key.strip() not in listed
    assert row[1].endswith(key.strip()[-4:])
    code, _, _ = await run("key", "revoke", row[0], *where)
    assert code == 0
    assert (await run("key", "revoke", row[0], *where))[0] == 1
    async with httpx.AsyncClient(base_url=platform.api_url, headers={"X-API-Key": key.strip()}, trust_env=False) as client:

        async def is_refused() -> bool:
            return (await client.get("/templates")).status_code == 401

        await until(is_refused)  # a running server takes note within a second


@pytest.mark.promise("serve.version")
async def test_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert (await run("version"))[1].strip() == version("sandyard") == version("sandyard-sdk")


@pytest.mark.promise("serve.secrets")
async def test_the_log_holds_no_key_and_no_token(platform: Platform) -> None:
    sandbox = await platform.create("echo")
    await platform.call(sandbox, headers={"X-API-Key": platform.key})
    await platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")
    log = platform.log.read_text()
    assert platform.key.removeprefix("sk-") not in log
    assert sandbox["envdAccessToken"] not in log
    assert json.loads((platform.data_dir / "server.json").read_text())["pid"] == platform.pid


@pytest.mark.promise("serve.one-server")
async def test_a_port_that_is_taken_is_said_plainly(platform: Platform, tmp_path: Path) -> None:
    port = platform.api_url.rpartition(":")[2]
    code, out, err = await run("serve", "--data-dir", str(tmp_path / "data"), "--backend", "memory", "--api-port", port)
    assert (code, out) == (1, "")
    assert "error: The server cannot start" in err
    assert f"127.0.0.1, port {port}" in err
    assert "Traceback" not in err


@pytest.mark.promise("serve.drain")
async def test_sigterm_does_not_wait_for_those_who_only_follow(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    source = f"import pathlib, time\nwhile pathlib.Path({str(gate)!r}).exists(): time.sleep(0.05)\n" + ECHO
    async with Platform(tmp_path / "data", "--drain-timeout", "20") as platform:
        reply = await platform.api.post("/agents", content=pack(write_agent(tmp_path / "stuck", "stuck", source)))
        url = f"/templates/stuck/builds/{reply.json()['buildID']}/logs"
        async with platform.api.stream("GET", url, params={"follow": "true"}) as log:
            lines = log.aiter_lines()
            assert (await anext(lines)).startswith("data:")
            os.kill(platform.pid, signal.SIGTERM)
            async with asyncio.timeout(10):
                rest = [line async for line in lines]
        assert not any(line.startswith("event: end") for line in rest)
        gate.unlink()
        await platform.stop()


@pytest.mark.promise("serve.drain")
async def test_sigterm_lets_a_request_finish(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    begun = tmp_path / "begun"
    source = (
        f"import pathlib, time\nif pathlib.Path({str(gate)!r}).exists():\n    pathlib.Path({str(begun)!r}).touch(); time.sleep(1)\n" + ECHO
    )
    async with Platform(tmp_path / "data") as platform:
        await platform.deploy(write_agent(tmp_path / "slow", "slow", source))
        gate.touch()
        create = asyncio.ensure_future(platform.create("slow"))

        async def has_begun() -> bool:
            return begun.exists()

        await until(has_begun)
        os.kill(platform.pid, signal.SIGTERM)
        sandbox = await create
        await platform.stop()
        await platform.start()
        details = (await platform.api.get(f"/sandboxes/{sandbox['sandboxID']}")).json()["details"]
        assert details["state"] == "stopped"
