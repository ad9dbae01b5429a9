"""The demo, whole: the story is a test of the platform, and this is a test of the story."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = [
    "1. One process to start",
    "2. From folders to templates",
    "3. Ask",
    "4. Stream: a LangGraph agent with tools, its model behind the egress proxy",
    "5. A data set in the session's memory",
    "6. Two sessions side by side",
    "7. Pause, resume, nothing forgotten",
    "8. An agent that crashes",
    "9. Prefabs: functions behind a gateway",
    "10. kill -9 of the server",
    "11. Close, stop, nothing left",
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.promise("demo.whole-story")
def test_the_whole_story_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line in CHAPTERS] == CHAPTERS
    assert "✗" not in done.stdout
    assert "checks passed" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.promise("demo.keep")
def test_a_platform_that_is_kept_runs_on_and_its_environment_is_printed(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")} | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "examples.demo", "--keep"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=580, check=False)
    found = re.search(r"End it with: kill ([0-9 ]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    try:
        assert done.returncode == 0
        printed = dict(re.findall(r"^export (\w+)=(.+)$", done.stdout, re.MULTILINE))
        ask = [str(Path(sys.executable).with_name("ppio-sandbox-cli")), "agent", "invoke", "hello", "you", "--json"]
        answer = subprocess.run(ask, env=os.environ | printed, capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(answer.stdout)["result"] == "Hello, you!"
    finally:
        for word in found[1].split():
            os.kill(int(word), signal.SIGTERM)
    _until_nothing_runs_in(tmp_path)


def _until_nothing_runs_in(directory: Path) -> None:
    """Wait until no process names the directory in its arguments: those that are kept are nobody's children."""
    deadline = time.monotonic() + 30
    while subprocess.run(["pgrep", "-f", str(directory)], capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.promise("demo.whole-story")
def test_a_platform_that_does_not_start_ends_the_story_with_its_reason(tmp_path: Path) -> None:
    env = os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "200"}
    command = [sys.executable, "-m", "examples.demo", "--backend", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "sandyard serve ended with 2" in done.stdout
    assert "nonsense" in done.stdout
    assert list(tmp_path.iterdir()) == []
