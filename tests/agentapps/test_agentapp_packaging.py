"""What is installed: in each way of installing, and where AgentScope is missing or another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from agentapps.serving import message, served

if TYPE_CHECKING:
    from agentapps.models import ModelServer

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "packages" / "agentscope"
IMPORTS = (
    "from agentscope.runtime import runtime, AgentApp, SessionContext; import agentscope.runtime as r; print(r.__file__, len(r.__all__))"
)


def uv() -> str:
    """Return the uv that made this environment: on the PATH, or the checkout's."""
    places = [shutil.which("uv"), str(ROOT / ".venv" / "bin" / "uv"), str(ROOT / ".bootstrap" / "uv")]
    found = next((place for place in places if place and Path(place).exists()), None)
    assert found is not None, "scripts/test installs uv"
    return found


def call(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=check, env=environment)


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the distribution installed in one of the ways; give its Python."""
    home = tmp_path_factory.mktemp(f"installed-{request.param}")
    call(uv(), "venv", "--python", sys.executable, home / "venv")
    python = home / "venv" / "bin" / "python"
    if request.param == "wheel":
        for project in (PROJECT, ROOT / "packages" / "sdk"):
            call(uv(), "build", "--wheel", "--out-dir", home / "dist", project)
        wheels = sorted((home / "dist").glob("*.whl"))
    else:
        wheels = ["--editable", PROJECT, "--editable", ROOT / "packages" / "sdk"]
    call(uv(), "pip", "install", "--python", python, *wheels)
    return python


async def walked(program: Path, models: ModelServer, directory: Path) -> None:
    """Go in by the front door: init, check, run, curl."""
    told = {"OPENAI_API_KEY": "your-api-key", "OPENAI_BASE_URL": models.openai, "HOME": str(directory), "PATH": os.environ["PATH"]}
    for arguments in (["init", "app"], ["check", "app"]):
        done = await anyio.run_process([program, *arguments], cwd=directory, env=told, check=False)
        assert done.returncode == 0, done.stderr.decode()
    async with served(directory / "app", program=program, **told) as app:
        asked = ["curl", "-sS", f"{app.url}/invoke", "-H", "Content-Type: application/json", "-d", json.dumps(message("Hello"))]
        answer = (await anyio.run_process(asked)).stdout.decode()
    assert '"content":"Hello"' in answer
    assert '"done":true' in answer


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(600)
@pytest.mark.promise("agentapp.imports", "agentapp.without-agentscope", "agentapp.cli")
async def test_an_app_runs_in_each_way_of_installing_which_says_what_is_missing(
    installed: Path, models: ModelServer, tmp_path: Path
) -> None:
    await walked(installed.with_name("agentscope"), models, tmp_path)
    out = call(installed, "-c", IMPORTS).stdout
    assert out.split()[0].endswith("agentscope/runtime/__init__.py")
    assert call(installed.with_name("agentscope"), "--help").returncode == 0
    version = (
        "import agentscope; from pathlib import Path; print(next(Path(agentscope.__file__).parents[1].glob('agentscope-*.dist-info')))"
    )
    info = Path(call(installed, "-c", version).stdout.split()[-1])
    metadata = (info / "METADATA").read_text()
    (info / "METADATA").unlink()  # it may be a link into uv's cache, which others share
    (info / "METADATA").write_text(metadata.replace("Version: 1.", "Version: 2.", 1))
    other = call(installed, "-c", IMPORTS, check=False)
    assert "is for AgentScope 1.x, and 2." in other.stderr
    (info / "METADATA").write_text(metadata)
    call(uv(), "pip", "uninstall", "--python", installed, "agentscope")
    missing = call(installed, "-c", IMPORTS, check=False)
    assert "ImportError: AgentScope is not installed" in missing.stderr
    assert "pip install 'agentscope>=1.0.21,<2'" in missing.stderr
    assert call(installed, "-m", "agentapp", "--help").returncode == 0


@pytest.mark.promise("agentapp.imports")
def test_the_front_door_has_what_it_says() -> None:
    from agentscope import runtime as stub

    import agentapp

    assert {name for name in vars(stub)["__all__"] if not hasattr(stub, name)} == set()
    assert stub.AgentApp is agentapp.AgentApp
    assert stub.runtime is agentapp.runtime
    assert callable(agentapp.serve)
    with pytest.raises(AttributeError):
        _ = agentapp.nothing  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.promise("agentapp.packaging")
def test_agentscope_and_its_pins_are_in_this_distribution_s_lock_only() -> None:
    locked = {
        name: {package["name"] for package in tomllib.loads((home / "uv.lock").read_text())["package"]}
        for name, home in (("server", ROOT), ("apps", PROJECT))
    }
    assert "agentscope" in locked["apps"]
    assert "agentscope" not in locked["server"]
    mcp = next(package for package in tomllib.loads((PROJECT / "uv.lock").read_text())["package"] if package["name"] == "mcp")
    assert mcp["version"].startswith("1.")


@pytest.mark.promise("agentapp.packaging")
def test_nothing_of_the_server_or_the_sdk_imports_agentscope() -> None:
    words = ("import agentscope", "from agentscope", "import agentapp", "from agentapp")
    found = [
        str(path)
        for package in ("server", "sdk")
        for path in (ROOT / "packages" / package / "src").rglob("*.py")
        if any(line.strip().startswith(words) for line in path.read_text(encoding="utf-8").splitlines())
    ]
    assert found == []
