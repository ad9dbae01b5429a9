"""Builds of foreign code (`setup.py`) against the platform that builds them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from support.packages import write_agent
from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

BACKEND = """
import os

def build_wheel(directory, settings=None, metadata=None):
    attack()
    raise SystemExit("the attack is over")

def get_requires_for_build_wheel(settings=None):
    return []
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "attack"\nbackend-path = ["."]\n[project]\nname = "attack"\nversion = "1"\n'

DEEP = """
def attack():
    os.chdir("/opt/venv")
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    import time
    time.sleep(60)
"""
LOUD = """
def attack():
    block = b"x" * 65536
    for _ in range(4000):
        os.write(1, block)
    os.write(1, b"\\n" * 300_000)
"""
ODD_NAMES = """
def attack():
    os.chdir("/opt/venv")
    for name in (b"\\xff\\xfe-1.dist-info", b"a\\nb-1.dist-info"):
        os.mkdir(b"lib/" + name)
    os.symlink("/", "root")
    os.symlink("/etc", "lib/etc")
    os.mkfifo("pipe")
"""
MARKS = {DEEP: "nested too deep", ODD_NAMES: "the attack is over", LOUD: "xxxx"}


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with Platform(tmp_path_factory.mktemp("builds") / "data", backend="process") as started:
        yield started


def package(directory: Path, attack: str) -> Path:
    write_agent(directory, requirements_txt="./attack\n")
    (directory / "attack").mkdir()
    (directory / "attack" / "pyproject.toml").write_text(PROJECT)
    (directory / "attack" / "attack.py").write_text(BACKEND + textwrap.dedent(attack))
    return directory


@pytest.mark.promise("trust.build")
@pytest.mark.parametrize("attack", [DEEP, ODD_NAMES, LOUD], ids=["deep", "odd names", "loud"])
async def test_a_hostile_build_fails_and_leaves_nothing(platform: Platform, tmp_path: Path, attack: str) -> None:
    before = platform.peak_memory()
    status = await platform.deploy(package(tmp_path / "agent", attack), expect="error")
    assert MARKS[attack] in status["reason"]["message"] + "\n".join(status["lines"]), status
    builds = platform.data_dir / "builds"
    assert [path for path in builds.iterdir() if path.name == status["buildID"]] == []
    assert platform.peak_memory() - before < 100 * 1024 * 1024
    assert (await platform.api.get("/templates")).status_code == 200
