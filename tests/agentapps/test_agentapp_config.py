"""agentapp.yaml and the command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from agentapp.config import AppConfig, load
from agentapp.errors import ConfigError
from agentapps.serving import APPS, BIN, CONFIG, Served, free_port, project, ran

if TYPE_CHECKING:
    from pathlib import Path

    from agentapps.models import ModelServer

pytestmark = pytest.mark.anyio

EVERYTHING = """\
name: all
app: "app.py:App"
models:
  main: {provider: openai, base_url: "https://x/v1", model: "${MODEL:-gpt-4}", api_key: "${KEY}", stream: false,
         generate_kwargs: {temperature: 0.1}, client_kwargs: {timeout: 3}}
mcp_servers:
  a: {url: "https://x/sse", transport: sse, headers: {Authorization: "Bearer ${KEY}"}, timeout: 30, sse_read_timeout: 300}
  b: {url: "https://x/mcp", transport: streamable_http}
  c: {transport: stdio, command: "run", args: [x], env: {A: b}}
session: {backend: sqlite, path: x.db, ttl: 60, max_bytes: 1000, lease: 5, lease_wait: 1}
platform: {endpoint: "https://p", instance_id: i-1, heartbeat_interval: 30, api_key: "${KEY}"}
tracing: {endpoint: "https://t"}
server: {host: 127.0.0.1, port: "${PORT:-8081}", isolation: shared, on_disconnect: finish, timeout: 10, max_request_bytes: 1000,
         max_instances: 5, max_waiting: 2, heartbeat: 5}
"""


def read(directory: Path, text: str, defer: bool = False, **variables: str) -> AppConfig:
    path = directory / "agentapp.yaml"
    path.write_text(text)
    return load(path, variables, defer=defer)


@pytest.mark.promise("agentapp.config")
def test_every_key_is_read_with_its_variables(tmp_path: Path) -> None:
    config = read(tmp_path, EVERYTHING, KEY="sk-1234")
    assert config.models["main"].model == "gpt-4"
    assert config.server.port == 8081
    assert [server.way for server in config.mcp_servers.values()] == ["sse", "streamable_http", "stdio"]
    assert config.mcp_servers["a"].headers["Authorization"].get_secret_value() == "Bearer sk-1234"
    assert read(tmp_path, EVERYTHING, KEY="k", MODEL="m", PORT="1").models["main"].model == "m"
    assert "sk-1234" not in repr(config)
    assert config.secrets() == {"sk-1234", "Bearer sk-1234"}
    assert read(tmp_path, "name: 'a$$b'\nmodels: {}".replace("a$$b", "a"), X="y").name == "a"


@pytest.mark.promise("agentapp.config-mistakes")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models:\n  main: {provider: openia, model: x}\n", ":2:10: models.main.provider: input should be"),
        ("models:\n  main: {provider: openia, model: x}\n", "did you mean openai?"),
        ("modls: {}\n", ":1:1: modls: there is no such key (did you mean models?)"),
        ("models:\n  main:\n    provider: openai\n    modle: x\n", ":4:5: models.main.modle: there is no such key (did you mean model?)"),
        ("models:\n  main:\n    provider: openai\n", ":2:3: models.main.model: this key is needed"),
        ("models:\n  main: {provider: openai, model: x, api_key: '${KEX}'}\n", "the variable KEX is not set (did you mean KEY?)"),
        ("models:\n  main: {provider: openai, model: '${1X}'}\n", "${1X} is no variable; write ${NAME}"),
        ("mcp_servers:\n  a: {transport: sse}\n", "an MCP server has a `url`"),
        ("mcp_servers:\n  a: {url: 'ftp://x'}\n", ":2:7: mcp_servers.a.url: string should match"),
        ("session: {backend: redis}\n", "the back end redis needs a `url`"),
        ("session: {backend: redis, url: 'postgresql://x'}\n", "is not one of the back end redis"),
        ("server: {port: 70000}\n", ":1:10: server.port: input should be less than or equal to 65535"),
        ("server:\n  port: 1\n  port: 2\n", ":2:3: server.port: this key stands twice, again in line 3"),
        ("models: [\n", "not YAML"),
        ("- a\n", "the file is not a mapping"),
        ("missing: {}\n", "missing: there is no such key"),
    ],
)
def test_a_mistake_is_told_where_it_stands(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as found:
        read(tmp_path, text, KEY="k")
    assert told in str(found.value)
    assert str(found.value).startswith(str(tmp_path / "agentapp.yaml"))


@pytest.mark.promise("agentapp.config-mistakes")
def test_all_mistakes_are_told_at_once_in_their_order_and_no_value_with_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as found:
        read(tmp_path, "modls: {}\nmodels:\n  main: {provider: sk-in-the-wrong-place, model: 3}\nserver: {porta: 1}\n")
    lines = str(found.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "3", "3", "4"]
    assert "sk-in-the-wrong-place" not in str(found.value)


@pytest.mark.promise("agentapp.config")
def test_what_sessions_bring_may_be_missing_where_it_is_deferred(tmp_path: Path) -> None:
    text = "models:\n  main: {provider: openai, model: x, api_key: '${KEY}'}\n  other: {provider: ollama, model: y}\n"
    assert read(tmp_path, text, defer=True).missing == {"models.main": "the variable KEY is not set"}
    with pytest.raises(ConfigError):
        read(tmp_path, "session: {url: '${URL}'}", defer=True)


@pytest.mark.promise("agentapp.cli")
async def test_init_check_and_run_make_an_app(models: ModelServer, tmp_path: Path) -> None:
    code, out, err = await ran("init", "my app", cwd=tmp_path)
    assert code == 0, err
    directory = tmp_path / "my app"
    files = {path.name for path in directory.iterdir()}
    assert files == {"agentapp.yaml", "app.py", "agent.yaml", "agent.py", "requirements.txt"}
    code, out, err = await ran("check", str(directory), cwd=tmp_path)
    assert (code, "OPENAI_API_KEY is not set" in err) == (2, True)
    assert ":7:5: models.main.api_key" in err
    code, out, err = await ran("check", str(directory), cwd=tmp_path, OPENAI_API_KEY="k")
    assert (code, out.splitlines()[0]) == (0, "my-app: App in app.py"), err
    (directory / "app.py").write_text("class Other: pass\n")
    again = await ran("init", str(directory), cwd=tmp_path)
    assert "app.py is there already" in again[1]
    code, out, err = await ran("check", str(directory), cwd=tmp_path, OPENAI_API_KEY="k")
    assert (code, "has 0 classes that are an AgentApp" in err) == (2, True)
    for wrong in (("run", "--port", "70000"), ("run", "--log-level", "loud"), ("nope",)):
        assert (await ran(*wrong, cwd=tmp_path))[0] == 2
    code, out, err = await ran("run", str(tmp_path / "nowhere"), cwd=tmp_path)
    assert (code, "agentscope init" in err) == (2, True)


@pytest.mark.promise("agentapp.cli-light")
@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("check", "."), ("init", "new")])
async def test_no_command_but_run_loads_agentscope(arguments: tuple[str, ...], tmp_path: Path) -> None:
    project(tmp_path, APPS / "kitchen.py", "models: {}")
    program = "import sys\ntry:\n    from agentapp.cli import main; main()\nfinally:\n    print('LOADED', [m for m in ('agentscope', 'mcp', 'openai', 'uvicorn') if m in sys.modules])"
    code, out, err = await ran("-c", program, *arguments, cwd=tmp_path, program="python")
    assert code == 0, err
    assert "LOADED []" in out


@pytest.mark.promise("agentapp.cli", "agentapp.reload")
@pytest.mark.parametrize("way", [["-m", "agentapp", "run", ".", "--reload"], ["-m", "ppio_sandbox.cli.run_here"]])
async def test_the_other_ways_in_serve_too_and_reload(way: list[str], tmp_path: Path) -> None:
    directory = project(
        tmp_path,
        "from agentscope.runtime import AgentApp\n\nclass App(AgentApp):\n    async def __call__(self, msg, ctx):\n        return 'first'\n",
        "models: {}",
    )
    port = free_port()
    if way[-1].endswith("run_here"):
        command = [str(BIN / "ppio-sandbox-cli"), "agent", "run", ".", "--port", str(port)]
    else:
        command = [sys.executable, *way, "--port", str(port)]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    async with await anyio.open_process(
        command, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        app = Served(process, f"http://127.0.0.1:{port}", directory)
        try:
            await answers(app, "first")
            (directory / "app.py").write_text((directory / "app.py").read_text().replace("first", "second"))
            await answers(app, "second")
        finally:
            process.terminate()
            with anyio.fail_after(30):
                await process.wait()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


async def answers(app: Served, expected: str) -> None:
    """Ask until the app answers so; while it starts nobody listens."""
    import httpx

    with anyio.fail_after(60):
        while True:
            try:
                if await app.ask("x") == expected:
                    return
            except (httpx.TransportError, AssertionError):
                pass
            await anyio.sleep(0.1)


@pytest.mark.promise("agentapp.config")
async def test_a_configuration_that_names_what_is_not_installed_says_so(tmp_path: Path) -> None:
    project(tmp_path, APPS / "kitchen.py", CONFIG + "app: other.py\n")
    code, _, err = await ran("run", ".", cwd=tmp_path, MODEL_URL="http://x/v1")
    assert (code, "there is no " in err) == (2, True)
