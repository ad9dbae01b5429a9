"""Builds in real sandboxes: what is installed, what foreign code cannot do meanwhile, what is said when it fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from support.packages import ECHO, write_agent
from support.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TELL = ECHO.replace("import json\n", "import json, os, ppio_sandbox, six, sandkit\n").replace(
    '"calls": calls,', '"files": [m.__file__ for m in (ppio_sandbox, six, sandkit)], "uid": os.getuid(), '
)

SETUP = """\
import json, os, socket, urllib.request
from setuptools import setup

def attempt(act):
    try:
        return str(act())
    except Exception as error:
        return type(error).__name__ + ": " + str(error)

facts = {{
    "uid": os.getuid(),
    "environment": sorted(os.environ),
    "server": attempt(lambda: socket.create_connection(("127.0.0.1", {port}), 2)),
    "proxied": attempt(lambda: urllib.request.urlopen("http://127.0.0.1:{port}/health", timeout=5).status),
    "example": attempt(lambda: urllib.request.urlopen("https://example.com/", timeout=5).status),
    "secrets": attempt(lambda: open("{data_dir}/secrets/api_key").read()),
    "usr": attempt(lambda: open("/usr/evil", "w")),
}}
os.makedirs("/opt/venv/evil", exist_ok=True)
json.dump(facts, open("/opt/venv/evil/facts.json", "w"))
if not os.path.lexists("/opt/venv/evil/root"):
    os.symlink("/", "/opt/venv/evil/root")
setup(name="evil", version="1")
"""


@pytest.mark.promise("build.environment")
async def test_requirements_and_our_sdk_are_installed_in_an_environment_of_its_own(process_platform: Platform, tmp_path: Path) -> None:
    wanted = "six==1.17.0\nppio-sandbox>=99  # a foreign name on the public index\n"
    status = await process_platform.deploy(write_agent(tmp_path / "tell", "tell", TELL, requirements_txt=wanted))
    info = (await process_platform.api.get("/templates/tell")).json()
    assert "six==1.17.0" in info["dependencies"]
    assert not any(name.startswith("ppio-sandbox") for name in info["dependencies"])
    assert info["size"] > 1024**2
    assert any("six==1.17.0" in line for line in status["lines"])
    sandbox = await process_platform.create("tell")
    told = (await process_platform.call(sandbox)).json()
    assert all(file.startswith("/opt/venv/lib/") for file in told["files"])
    assert told["uid"] == 1000
    await process_platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")


@pytest.mark.promise("build.confined")
async def test_setup_py_runs_confined_to_the_sandbox(process_platform: Platform, tmp_path: Path) -> None:
    agent = write_agent(tmp_path / "confined", "confined", requirements_txt="./evil\n")
    (agent / "evil").mkdir()
    port = urlsplit(process_platform.api_url).port
    (agent / "evil" / "setup.py").write_text(SETUP.format(port=port, data_dir=process_platform.data_dir))
    status = await process_platform.deploy(agent)
    home = process_platform.data_dir / "builds" / status["buildID"]
    facts = json.loads((home / "venv/evil/facts.json").read_text())
    assert facts["uid"] == 1000
    assert not any(name.startswith(("SANDYARD", "PYTEST")) for name in facts["environment"])
    assert "refused" in facts["server"]
    assert facts["proxied"] not in ("200", "204")
    assert "403" in facts["example"]
    assert "No such file" in facts["secrets"]
    assert "Read-only" in facts["usr"] or "Permission" in facts["usr"]
    assert (await process_platform.api.get("/templates/confined")).json()["size"] < 1024**3
    assert not (home / "app" / "evil" / "evil.egg-info").exists()


@pytest.mark.promise("build.failures")
async def test_requirements_that_cannot_be_resolved_fail_with_the_name(process_platform: Platform, tmp_path: Path) -> None:
    agent = write_agent(tmp_path / "unresolved", "unresolved", requirements_txt="six==99.0\n")
    status = await process_platform.deploy(agent, expect="error")
    assert status["reason"]["message"].startswith("The requirements could not be installed: ")
    assert "six==99.0" in status["reason"]["message"]
    assert any("six==99.0" in line for line in status["lines"])


@pytest.mark.promise("build.failures")
@pytest.mark.parametrize(
    ("source", "reason", "printed"),
    [
        ("import no_such_module", "exited with code 1", "No module named 'no_such_module'"),
        ("print('farewell'); raise SystemExit(3)", "exited with code 3", "farewell"),
        ("import time; print('waiting', flush=True); time.sleep(60)", "did not listen on port 8080 within 3 s", "waiting"),
    ],
    ids=["import", "exit", "silent"],
)
async def test_an_agent_that_does_not_start_fails_with_its_last_lines(
    process_platform: Platform, tmp_path: Path, source: str, reason: str, printed: str
) -> None:
    agent = write_agent(tmp_path / "ends", "ends", source, timeout=3)
    status = await process_platform.deploy(agent, expect="error")
    assert reason in status["reason"]["message"]
    assert any(printed in line for line in status["lines"])
    assert printed in status["reason"]["output"]


@pytest.mark.promise("serve.no-isolation")
async def test_without_isolation_agents_are_built_and_run_and_every_sandbox_is_marked(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", "--isolation", "none", backend="process") as platform:
        assert "not isolated" in platform.log.read_text()
        await platform.deploy(write_agent(tmp_path / "echo"))
        sandbox = await platform.create("echo")
        assert (await platform.call(sandbox)).status_code == 200
        isolation = (await platform.api.get(f"/sandboxes/{sandbox['sandboxID']}")).json()["isolation"]
        assert (isolation["user"], isolation["namespaces"]) == ("none", [])
        assert "not isolated" in isolation["notes"][0]
