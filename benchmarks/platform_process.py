"""`sandyard serve` for benchmarks: a directory of its own, one deployed agent, and a look at what its sandboxes cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Platform:
    """A running platform; `agent_home` is the deployed build's directory on the host."""

    data_dir: Path
    api_url: str
    sandbox_url: str
    api_key: str
    pid: int

    @property
    def env(self) -> dict[str, str]:
        return {"PPIO_API_KEY": self.api_key, "PPIO_API_URL": self.api_url, "PPIO_SANDBOX_URL": self.sandbox_url}

    @property
    def agent_home(self) -> Path:
        return next((self.data_dir / "builds").iterdir())


@contextmanager
def platform_with(agent: Path | None) -> Generator[Platform]:
    """Serve on a temporary directory and deploy `agent`, if there is one, until the block ends.

    Raises:
        RuntimeError: the server or the build failed; the message holds what was said.
    """
    with tempfile.TemporaryDirectory(prefix="sandyard-bench-") as name:
        data_dir = Path(name, "data")
        command = [str(BIN / "sandyard"), "serve", "--data-dir", str(data_dir), "--api-port", "0", "--ingress-port", "0"]
        process = subprocess.Popen([*command, "--max-sandboxes", "300"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("ready"):
                raise RuntimeError(f"sandyard serve ended with {process.wait()}")
            platform = _described(data_dir, process.pid)
            if agent is not None:
                _deploy(agent, platform)
            yield platform
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            if process.stdout is not None:
                process.stdout.close()


def _described(data_dir: Path, pid: int) -> Platform:
    info = json.loads((data_dir / "server.json").read_text())
    return Platform(data_dir, info["api_url"], info["sandbox_url"], (data_dir / "secrets" / "api_key").read_text().strip(), pid)


def _deploy(agent: Path, platform: Platform) -> None:
    command = [str(BIN / "ppio-sandbox-cli"), "agent", "deploy", str(agent), "--json"]
    with tempfile.TemporaryDirectory() as copy:  # a deploy writes its status into the manifest
        subprocess.run(["cp", "-r", f"{agent}/.", copy], check=True)
        done = subprocess.run([*command[:3], copy, "--json"], env=os.environ | platform.env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"deploy failed: {done.stderr}")


@dataclass(frozen=True, slots=True)
class Cost:
    """What all processes inside sandboxes have together: proportional set size in bytes, CPU time in seconds, their number."""

    pss: int
    cpu: float
    processes: int


def cost_inside(platform: Platform) -> Cost:
    """Add up the processes of this platform's sandboxes: its keeper's descendants that live in another pid namespace."""
    ours = Path("/proc/self/ns/pid").readlink()
    tick = os.sysconf("SC_CLK_TCK")
    pss, cpu, count = 0, 0.0, 0
    for pid in _descendants(str(platform.data_dir)):
        try:
            if Path(f"/proc/{pid}/ns/pid").readlink() == ours:
                continue
            fields = _stat(pid)
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        cpu += (int(fields[11]) + int(fields[12])) / tick
        pss += 1024 * int(rollup.partition("\nPss:")[2].split()[0])
        count += 1
    return Cost(pss, cpu, count)


def _descendants(data_dir: str) -> set[int]:
    """Return the processes that name the data directory, and all that descend from them."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
                if data_dir in (entry / "cmdline").read_text():
                    found.add(int(entry.name))
        except OSError:
            continue
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
