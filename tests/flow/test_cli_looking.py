"""`agent run`, `info`, `sessions`, `logs --follow`, `doctor`, `invoke --env`: a process and its two outputs."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml

from support.cli import Cli
from support.fake_platform import TEMPLATE_ID, FakePlatform, answers, created, detail, refused, template

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

ENVELOPE = {"result": "hello", "status": "success", "duration": 0.5}


@pytest.fixture
async def platform() -> AsyncGenerator[FakePlatform]:
    async with FakePlatform() as fake:
        yield fake


@pytest.fixture
def cli(tmp_path: Path, platform: FakePlatform) -> Cli:
    return Cli(tmp_path, platform.environment)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def answer_of(port: int, expected: str) -> None:
    """Call the agent until it answers what is expected; the test's time-out bounds it."""
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(30):
        while True:
            try:
                reply = await http.post(f"http://127.0.0.1:{port}/invocations", json={"prompt": "hi"})
                if expected in reply.text:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)  # another program starts: nothing here can tell when it listens


@pytest.mark.promise("cli.run")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
async def test_run_starts_the_agent_again_when_a_file_changes(cli: Cli, number: signal.Signals, code: int) -> None:
    assert (await cli("init", "--name", "my-agent")).code == 0
    agent = cli.here / "agent.py"
    agent.write_text(agent.read_text().replace('f"You said:', '__import__("os").environ["MOOD"] + f":'))
    port = free_port()
    process = await cli.start("run", "--port", str(port), "--env", "MOOD=cheerful")
    try:
        await answer_of(port, "cheerful: hi")
        agent.write_text(agent.read_text().replace("MOOD", "HOME"))
        await answer_of(port, f"{cli.here}: hi")
    finally:
        process.send_signal(number)
        async with asyncio.timeout(20):
            _, err = await process.communicate()
    assert process.returncode == code
    assert b"files have changed" in err
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.mark.promise("cli.run")
async def test_run_without_reload_ends_with_the_agent(cli: Cli) -> None:
    assert (await cli("init", "--name", "my-agent")).code == 0
    (cli.here / "agent.py").write_text("raise SystemExit(7)\n")
    assert (await cli("run", "--no-reload", "--port", "0")).code == 7
    assert (await cli("run", "--env", "nonsense")).code == 2
    (cli.here / "agent.py").unlink()
    assert (await cli("run")).code == 2


@pytest.mark.promise("cli.info")
async def test_info(cli: Cli, platform: FakePlatform) -> None:
    platform.on("GET /templates/hello", answers(template("hello")))
    assert yaml.safe_load((await cli("info", "--template-id", "hello")).out)["template_id"] == TEMPLATE_ID
    assert (await cli("info", "hello", "--json")).json["metadata"]["agent"]["spec"]["entrypoint"] == "agent.py"
    platform.on("GET /templates/none", refused(404, "template_not_found", "There is no template 'none'"))
    ended = await cli("info", "none")
    assert (ended.code, "Template none not found" in ended.err) == (4, True)


@pytest.mark.promise("cli.sessions")
async def test_sessions(cli: Cli, platform: FakePlatform) -> None:
    platform.on("GET /v2/sandboxes", answers([detail("i7"), detail("i8", "paused")]))
    assert [line.split()[:3] for line in (await cli("sessions")).out.splitlines()] == [
        ["i7", TEMPLATE_ID, "active"],
        ["i8", TEMPLATE_ID, "paused"],
    ]
    assert [one["status"] for one in (await cli("sessions", "--json")).json] == ["active", "paused"]
    platform.on("GET /v2/sandboxes", answers([]))
    platform.on("DELETE /sandboxes/i7", answers(None, 204))
    ended = await cli("sessions", "--close", "i7")
    assert (ended.out, len(platform.asked("DELETE /sandboxes/i7"))) == ("", 1)
    assert (await cli("sessions", "--close", "i9")).code == 4


@pytest.mark.promise("cli.follow")
async def test_logs_are_followed_until_the_session_ends(cli: Cli, platform: FakePlatform) -> None:
    def wrote(*lines: str) -> object:
        return {"logs": [{"timestamp": "2026-01-01T00:00:00Z", "line": line} for line in lines]}

    gone = refused(404, "sandbox_not_found", "its time was up")
    seen = [wrote("a", "a"), wrote("a", "a"), wrote("a", "a", "b"), wrote("b", "c"), wrote("x", "y")]
    platform.on("GET /sandboxes/i1/logs", *[answers(value) for value in seen], gone)
    ended = await cli("logs", "i1", "--follow")
    assert (ended.code, ended.out.split()) == (0, ["a", "a", "b", "c", "x", "y"])
    assert "its time was up" in ended.err
    assert (await cli("logs", "i1", "--follow")).code == 4


@pytest.mark.promise("cli.env")
async def test_variables_of_a_new_session(cli: Cli, platform: FakePlatform) -> None:
    platform.on("POST /sandboxes", created())
    platform.on("DELETE /sandboxes/i1", answers(status=204))
    platform.on("POST /invocations", answers(ENVELOPE))
    assert (await cli("invoke", "hello", "hi", "--env", "A=1", "--env", "B=x=y")).code == 0
    assert platform.asked("POST /sandboxes")[0].json["envVars"] == {"A": "1", "B": "x=y"}
    assert (await cli("invoke", "hello", "hi", "--env", "nonsense")).code == 2
    assert (await cli("invoke", "--session", "i1", "--input", "hi", "--env", "A=1")).code == 2
    assert len(platform.asked("POST /sandboxes")) == 1


@pytest.mark.promise("cli.doctor")
async def test_doctor(cli: Cli, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("GET /templates", answers([template()]))
    ended = await cli("doctor")
    assert (ended.code, [line.split()[:2] for line in ended.out.splitlines()]) == (
        0,
        [["ok", "python:"], ["ok", "platform:"], ["ok", "ingress:"]],
    )
    (cli.here / "agent.yaml").write_text("kind: Cat\n")
    platform.on("GET /templates", refused(401, "unauthenticated", "This API key is unknown or revoked"))
    ended = await cli("doctor", "--json")
    assert (ended.code, [one["what"] for one in ended.json if not one["ok"]]) == (1, ["manifest", "platform"])
    ended = await Cli(tmp_path, {})("doctor")
    assert (ended.code, "API Key is required" in ended.out) == (1, True)


@pytest.mark.promise("cli.completion")
async def test_a_shell_can_complete_commands(cli: Cli) -> None:
    words = {"_PPIO_SANDBOX_CLI_COMPLETE": "complete_bash", "COMP_WORDS": "ppio-sandbox-cli agent dep", "COMP_CWORD": "2"}
    cli.environment.update(words)
    assert (await cli()).out.split() == ["deploy"]
