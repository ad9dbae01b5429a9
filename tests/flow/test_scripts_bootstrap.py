"""The scripts, from the outside: a copy of the checkout, a bare environment, and what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
BASE_PYTHON = Path(sys.base_prefix, "bin", "python3")
CERTIFICATES = {name: os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT", "HTTPS_PROXY", "https_proxy") if name in os.environ}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the bootstrap needs, with a space in its path; its demo only says that it ran."""
    root = tmp_path / "a checkout"
    root.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, root)
    for name in ("scripts", "packages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    demo = root / "examples" / "demo" / "__main__.py"
    demo.parent.mkdir(parents=True)
    demo.write_text("import sandyard, ppio_sandbox, sys; print('told', sys.argv[1:])")
    return root


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory for the PATH that has this Python, the system's small tools, and no uv."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name in ("sh", "dirname", "basename", "uname", "id", "env"):
        found = shutil.which(name, path=SYSTEM_PATH)
        assert found is not None
        (directory / name).symlink_to(found)
    (directory / "python3").write_text(f'#!/bin/sh\nexec "{BASE_PYTHON}" "$@"\n')
    (directory / "python3").chmod(0o755)
    return directory


def call(script: Path, *arguments: str, path: Path, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments],
        env={"PATH": str(path), **CERTIFICATES, **env},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.promise("house.bootstraps", "house.untouched")
def test_a_machine_without_uv_runs_the_demo_and_is_left_as_it_was(checkout: Path, tools: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = call(checkout / "scripts" / "demo", "--keep", "a b", path=tools, HOME=str(home), timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "told ['--keep', 'a b']\n"
    assert list(home.iterdir()) == []
    made = {path.name for path in checkout.iterdir()} - {"pyproject.toml", "uv.lock", "scripts", "packages", "examples"}
    assert made == {".venv", ".bootstrap"}
    again = call(checkout / "scripts" / "demo", path=tools, HOME="/nonexistent", PYTHONPATH="/nonsense", VIRTUAL_ENV="/nonsense")
    assert (again.returncode, again.stdout, again.stderr) == (0, "told []\n", "")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.promise("house.bootstraps-bare")
def test_without_a_working_pip_uv_comes_as_the_wheel_of_the_lock(checkout: Path, tools: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    done = call(tools / "python3", "-I", str(checkout / "scripts" / "_bootstrap.py"), path=tools, timeout=300, **nowhere)
    assert done.returncode == 0, done.stderr
    uv = Path(done.stdout.strip())
    assert uv.is_relative_to(checkout / ".bootstrap")
    assert not (checkout / ".bootstrap" / "venv").exists()
    assert subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout.startswith("uv ")


@pytest.mark.promise("house.bootstraps-bare")
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_wheel_that_is_not_the_lock_s_is_refused(checkout: Path, tools: Path) -> None:
    lock = checkout / "uv.lock"
    before, _, after = lock.read_text().partition('name = "uv"\n')
    lock.write_text(before + 'name = "uv"\n' + after.replace("sha256:", "sha256:0", 40))
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    done = call(tools / "python3", "-I", str(checkout / "scripts" / "_bootstrap.py"), path=tools, timeout=300, **nowhere)
    assert done.returncode == 1
    assert "is not the file that uv.lock names" in done.stderr


@pytest.mark.promise("house.says-what-is-missing")
@pytest.mark.parametrize("script", ["demo", "test", "check", "bench"])
def test_an_old_python_is_named(checkout: Path, tools: Path, script: str) -> None:
    old = '#!/bin/sh\ncase "$*" in *print*) echo 3.9.2 ;; *) exit 1 ;; esac\n'
    (tools / "python3").write_text(old)
    done = call(checkout / "scripts" / script, path=tools)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr == f"{script}: Python 3.11 or newer is needed, and python3 here is 3.9.2.\n"


@pytest.mark.promise("house.says-what-is-missing")
def test_no_python_is_said(checkout: Path, tools: Path) -> None:
    (tools / "python3").unlink()
    done = call(checkout / "scripts" / "demo", path=tools)
    assert (done.returncode, done.stderr) == (69, "demo: Python 3.11 or newer is needed, and there is no python3 on the PATH.\n")


@pytest.mark.promise("house.says-what-is-missing")
def test_another_system_than_linux_is_said(checkout: Path, tools: Path) -> None:
    (tools / "uname").unlink()
    (tools / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (tools / "uname").chmod(0o755)
    done = call(checkout / "scripts" / "demo", path=tools)
    assert done.returncode == 69
    assert "made of Linux namespaces, and this is Darwin" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.promise("house.says-what-is-missing")
def test_an_index_out_of_reach_is_said(checkout: Path, tools: Path) -> None:
    (tools / "uv").write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'uv 99.0.0' && exit\necho 'no route' >&2\nexit 2\n")
    (tools / "uv").chmod(0o755)
    done = call(checkout / "scripts" / "demo", path=tools)
    assert done.returncode == 69
    assert done.stderr.startswith("no route\n")
    assert "The dependencies could not be installed" in done.stderr


@pytest.mark.promise("house.bootstraps")
def test_a_uv_on_the_path_is_used_if_it_is_new_enough(checkout: Path, tools: Path) -> None:
    seen = checkout / "seen"
    script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'uv 0.7.0 (x)' && exit\n"
    script += f'echo "$*" "$UV_PYTHON_DOWNLOADS" "$UV_CACHE_DIR" >> "{seen}"; exit 3\n'
    (tools / "uv").write_text(script)
    (tools / "uv").chmod(0o755)
    call(checkout / "scripts" / "demo", path=tools, HOME=str(checkout.parent))
    call(checkout / "scripts" / "demo", path=tools, HOME="/nonexistent")
    command = "sync --frozen --inexact --quiet --no-dev never"
    assert seen.read_text() == f"{command} \n{command} {checkout}/.bootstrap/cache\n"
    assert not (checkout / ".bootstrap").exists()


@pytest.mark.promise("house.lengths")
@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("def long():\n" + "    x = 1\n" * 80, "packages/x.py:1 long has 81 lines (limit 80)"),
        ("x = 1\n" * 401, "packages/x.py has 401 lines (limit 400)"),
        ("def middle():\n" + "    x = 1\n" * 30, "packages: only 0.0% of functions have 25 lines or fewer"),
    ],
)
def test_lengths_are_held(tmp_path: Path, code: str, complaint: str) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "packages").mkdir()
    shutil.copy(ROOT / "scripts" / "lengths.py", tmp_path / "scripts")
    (tmp_path / "packages" / "x.py").write_text(code)
    done = subprocess.run([sys.executable, tmp_path / "scripts" / "lengths.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr


@pytest.mark.promise("house.ci")
def test_ci_runs_the_commands_of_the_readme_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail"
    assert lines[2:] == ["./scripts/check", "./scripts/test"]
    assert "./scripts/test" in (ROOT / "README.md").read_text()


@pytest.mark.promise("house.one-version")
def test_one_version_and_a_lock_that_fits() -> None:
    import tomllib

    files = sorted((ROOT / "packages").glob("*/pyproject.toml"))
    projects = [tomllib.loads(path.read_text())["project"] for path in files]
    assert {project["name"] for project in projects} == {"sandyard", "sandyard-sdk", "sandyard-agentscope"}
    assert len({project["version"] for project in projects}) == 1
    locks = [tomllib.loads((ROOT / where / "uv.lock").read_text()) for where in (".", "packages/agentscope")]
    locked = {package["name"]: package.get("version") for lock in locks for package in lock["package"]}
    assert {project["name"]: project["version"] for project in projects}.items() <= locked.items()
    assert locks[0]["manifest"]["members"] == ["sandyard", "sandyard-sdk", "sandyard-workspace"]
