"""The Dockerfile that `agent init` writes, built and run: by our own builder everywhere, by Docker where it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from e2b import AsyncTemplate

from support.cli import Cli
from support.platform import Platform, until
from support.python_image import ENV, python_layer
from support.registry import Registry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the test's image is for amd64"),
]

BASE = "python:3.12-slim"
SAID = {"result": "You said: hello", "status": "success"}
READY = "python -c \"import socket; socket.create_connection(('127.0.0.1', 8080), 1)\""
START_SECONDS = 30.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return python_layer(tmp_path_factory.mktemp("image"))


@pytest.fixture
async def agent(tmp_path: Path) -> Path:
    """A directory as `agent init` writes it."""
    here = tmp_path / "agent"
    here.mkdir()
    assert (await Cli(here, {})("init", "--name", "packed")).code == 0
    return here


@pytest.mark.promise("cli.dockerfile")
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="a Dockerfile's steps are root's, which the sandboxes of an ordinary user's server have not")
async def test_our_own_builder_builds_it(image: bytes, agent: Path, tmp_path: Path) -> None:
    async with Registry() as registry, Platform(tmp_path / "data", "--registry", registry.host, backend="process") as server:
        registry.push("python", [image], env=ENV)
        text = (agent / "Dockerfile").read_text().replace(f"FROM {BASE}", f"FROM {registry.host}/python")
        read = AsyncTemplate(file_context_path=agent).from_dockerfile(text)
        command = json.loads(AsyncTemplate.to_json(read))["startCmd"]
        assert command == "python agent.py"
        options: dict[str, Any] = {"api_key": server.env["E2B_API_KEY"], "api_url": server.api_url, "sandbox_url": server.sandbox_url}
        await AsyncTemplate.build(read.set_start_cmd(command, READY), "packed", **options)
        reply = await server.call(await server.create("packed"), "/invocations", method="POST", json={"prompt": "hello"})
    assert reply.json() | SAID == reply.json()


@dataclass
class Engine:
    """A Docker engine. `base` is the name under which it is given our image for `BASE`."""

    host: str | None
    base: str

    async def __call__(self, *words: str) -> str:
        environment = os.environ | ({} if self.host is None else {"DOCKER_HOST": self.host})
        process = await asyncio.create_subprocess_exec(
            "docker", *words, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(240):
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode().strip()

    async def is_there(self) -> bool:
        try:
            return bool(await self("info"))
        except AssertionError:
            return False


@pytest.fixture
async def engine() -> AsyncGenerator[Engine]:
    """The engine of this machine, or one of the test's own, that touches neither the network's rules nor another's images."""
    if shutil.which("docker") is None:
        pytest.skip("there is no `docker` command here")
    running = Engine(None, f"sandyard-test-base:{os.getpid()}")
    if await running.is_there():
        yield running
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        pytest.skip("no Docker engine runs here, and starting one takes `dockerd` and root")
    home = Path(tempfile.mkdtemp(prefix="dockerd-"))  # short: the paths of Unix sockets are
    words = [f"--data-root={home}/data", f"--exec-root={home}/exec", f"--pidfile={home}/pid", f"--host=unix://{home}/socket"]
    words += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    with (home / "log").open("wb") as log:
        daemon = await asyncio.create_subprocess_exec("unshare", "--mount", "dockerd", *words, stdout=log, stderr=log)
    own = Engine(f"unix://{home}/socket", BASE)
    try:
        with contextlib.suppress(TimeoutError):
            await until(lambda: _started(own, daemon), START_SECONDS)
        if not await own.is_there():
            pytest.skip(f"dockerd does not start here: {(home / 'log').read_text().splitlines()[-1:]}")
        yield own
    finally:
        if daemon.returncode is None:
            daemon.terminate()
        await daemon.wait()
        shutil.rmtree(home)


async def _started(engine: Engine, daemon: asyncio.subprocess.Process) -> bool:
    return daemon.returncode is not None or await engine.is_there()


@pytest.mark.needs_docker
@pytest.mark.promise("cli.dockerfile")
async def test_docker_builds_it_and_runs_it(image: bytes, agent: Path, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "base.tar.gz").write_bytes(image)
    dockerfile = agent / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace(f"FROM {BASE}", f"FROM {engine.base}"))
    await engine("import", *[f"--change=ENV {name}={value}" for name, value in ENV.items()], str(tmp_path / "base.tar.gz"), engine.base)
    name = f"sandyard-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    try:
        await engine("build", "--network=host", "--tag", name, str(agent))
        variables = ("--env", "PPIO_AGENT_HOST=127.0.0.1", "--env", f"PPIO_AGENT_PORT={port}")
        await engine("run", "--detach", "--name", name, "--network=host", *variables, name)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                await until(lambda: _answers(client))
                reply = await client.post("/invocations", json={"prompt": "hello"})
            assert reply.json() | SAID == reply.json()
            await engine("stop", name)
            assert await engine("inspect", "--format", "{{.State.ExitCode}}", name) == "0", "it ends by itself when it is told to"
        finally:
            await engine("rm", "--force", name)
    finally:
        await engine("rmi", "--force", name, engine.base)


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/ping")).status_code == 200
    except httpx.TransportError:
        return False
