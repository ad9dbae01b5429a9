"""The pages: what they show is a file that runs, what they list is what there is, where they point there is something."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("packages/*/README.md"), *ROOT.glob("examples/**/*.md")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOURCES = {path.read_text() for path in (ROOT / "docs_src").rglob("*") if path.is_file() and path.suffix != ".pyc"}
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(page: str, *languages: str) -> list[str]:
    return [code for language, code in BLOCK.findall((ROOT / page).read_text()) if language in languages]


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs_src" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.promise("docs.run")
@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/quickstart.md", "docs/errors.md", "docs/agent-client.md"])
def test_code_on_pages_is_a_file_of_docs_src(page: str) -> None:
    shown = blocks(page, "python", "yaml")
    assert shown
    assert [code for code in shown if code not in SOURCES] == []


@pytest.mark.promise("docs.two-languages")
def test_both_readmes_show_the_same_commands_and_code() -> None:
    languages = ("sh", "python", "yaml")
    assert blocks("README.md", *languages) == blocks("README.zh-CN.md", *languages)
    assert blocks("README.md", "sh")[0] == "./scripts/demo\n./scripts/test\n"
    assert len(blocks("README.md", "python")[0].splitlines()) <= 20
    assert (ROOT / "docs_src" / "first_steps.sh").read_text() in blocks("README.md", "sh")


@pytest.mark.promise("docs.links")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()] == []


@pytest.mark.promise("docs.errors")
def test_the_page_of_errors_is_the_wire_s_list() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    assert program("make_errors").rendered(page) == page, "run: python docs_src/make_errors.py"


@pytest.mark.promise("docs.commands")
def test_the_page_of_commands_is_what_the_commands_say() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert program("make_cli").rendered(page) == page, "run: python docs_src/make_cli.py"


@pytest.mark.promise("docs.e2b-coverage")
def test_the_page_of_the_client_s_methods_is_the_walk_through_them() -> None:
    page = (ROOT / "docs" / "e2b-coverage.md").read_text()
    assert program("make_e2b_coverage").rendered(page) == page, "run: python docs_src/make_e2b_coverage.py"


@pytest.fixture
def notebook() -> Generator[httpx.Client]:
    """The README's agent as a plain process, as it runs on a developer's desk."""
    command = [sys.executable, "agent.py"]
    env = os.environ | {"PPIO_AGENT_HOST": "127.0.0.1", "PPIO_AGENT_PORT": "0"}
    with subprocess.Popen(command, cwd=ROOT / "docs_src" / "notebook", env=env, stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stderr is not None
        url = agent.stderr.readline().split()[-1]
        with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
            yield client
        agent.terminate()


@pytest.mark.promise("docs.run")
def test_the_readme_s_agent_remembers_and_streams(notebook: httpx.Client) -> None:
    assert notebook.get("/ping").status_code == 200
    notebook.post("/invocations", json={"prompt": "buy milk"})
    reply = notebook.post("/invocations", json={"prompt": "call Ada"})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text == 'data: "2 notes so far:\\n"\n\ndata: "1. buy milk\\n"\n\ndata: "2. call Ada\\n"\n\n'


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.promise("docs.run")
async def test_the_readme_s_steps_deploy_and_call(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs_src", tmp_path / "docs_src")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    async with Platform(tmp_path / "data", backend="process") as platform:
        env = {**os.environ, "PATH": path, "SANDYARD_DATA_DIR": str(platform.data_dir)}
        steps = subprocess.run(  # noqa: ASYNC221 (the platform is a process of its own)
            ["sh", "-e", "docs_src/first_steps.sh"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False
        )
        assert steps.returncode == 0, steps.stderr
        assert steps.stdout.endswith("2 notes so far:\n1. buy milk\n2. call Ada\n")
        for name, said in (("errors", "1. a note\n\n"), ("sync_call", "2 notes so far:\n1. buy milk\n2. call Ada\n")):
            done = subprocess.run(  # noqa: ASYNC221
                [sys.executable, f"docs_src/{name}.py"],
                cwd=tmp_path,
                env={**env, **platform.env},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.stdout.endswith(said), done.stderr


@pytest.mark.anyio
@pytest.mark.promise("docs.run")
async def test_the_page_of_prefabs_makes_publishes_and_calls_one(tmp_path: Path) -> None:
    assert (ROOT / "docs_src" / "first_prefab.sh").read_text() in blocks("docs/prefabs.md", "sh")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    async with Platform(tmp_path / "data", backend="process") as platform:
        env = {**os.environ, "PATH": path, "SANDYARD_DATA_DIR": str(platform.data_dir)}
        steps = subprocess.run(  # noqa: ASYNC221 (the platform is a process of its own)
            ["sh", "-e", str(ROOT / "docs_src" / "first_prefab.sh")],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert steps.returncode == 0, steps.stderr
    assert '"message":"Hello, Ada! Hello, Ada!"' in steps.stdout
