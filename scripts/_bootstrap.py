"""Print the path of a uv that can read our lock file: the one on the PATH, else one installed below `.bootstrap/`.

Runs before any dependency is there: standard library only. Python 3.11+.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
import venv
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".bootstrap"
OLDEST = (0, 7, 0)
"""The first uv that reads our lock and knows the options that the scripts pass."""
DOWNLOAD_TIMEOUT = 300.0


class CannotInstall(Exception):  # noqa: N818 (it is a sentence for people, not an error of ours)
    """uv could not be installed this way."""


def main() -> int:
    """Print uv's path, or say on stderr what is missing."""
    try:
        print(usable(shutil.which("uv")) or usable(str(HOME / "uv")) or install())
    except CannotInstall as error:
        print(f"uv could not be installed from the package index: {error}", file=sys.stderr)
        return 1
    return 0


def usable(uv: str | None) -> str | None:
    """Return `uv` if it runs and is new enough."""
    if uv is None:
        return None
    try:
        answer = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"(\d+)\.(\d+)\.(\d+)", answer)
    return uv if version and tuple(map(int, version.groups())) >= OLDEST else None


def install() -> str:
    """Install the uv that `uv.lock` names and return its path."""
    package = locked_uv()
    print(f"Installing uv {package['version']} into {HOME} …", file=sys.stderr)
    HOME.mkdir(exist_ok=True)
    try:
        uv = by_pip(str(package["version"]))
    except CannotInstall:
        uv = by_wheel(package)  # no venv, no pip, or a pip that fails: the wheel itself, held to the lock's hash
    link = HOME / f"uv.{os.getpid()}"
    link.symlink_to(uv.relative_to(HOME))
    link.replace(HOME / "uv")
    return str(HOME / "uv")


def locked_uv() -> dict[str, Any]:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    return next(package for package in lock["package"] if package["name"] == "uv")


def by_pip(version: str) -> Path:
    """Install into a private virtual environment."""
    home = HOME / "venv"
    try:
        venv.create(home, with_pip=True, clear=True)
        command = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"uv=={version}"]
        subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT, check=True)
    except (OSError, SystemExit, ImportError, subprocess.SubprocessError) as error:
        shutil.rmtree(home, ignore_errors=True)
        raise CannotInstall(str(error)) from error
    return home / "bin" / "uv"


def by_wheel(package: dict[str, Any]) -> Path:
    """Take the binary out of the wheel that the lock names for this machine."""
    wheel = matching_wheel(package["wheels"])
    try:
        with urllib.request.urlopen(wheel["url"], timeout=DOWNLOAD_TIMEOUT) as reply:
            content = reply.read()
    except OSError as error:
        raise CannotInstall(f"{wheel['url']}: {error}") from error
    if "sha256:" + hashlib.sha256(content).hexdigest() != wheel["hash"]:
        raise CannotInstall(f"{wheel['url']} is not the file that uv.lock names")
    uv = HOME / "bin" / "uv"
    uv.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        uv.write_bytes(archive.read(f"uv-{package['version']}.data/scripts/uv"))
    uv.chmod(0o755)
    return uv


def matching_wheel(wheels: list[dict[str, str]]) -> dict[str, str]:
    """Return the wheel for this machine's processor and C library."""
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    machine = platform.machine()
    for wheel in wheels:
        name = wheel["url"].rsplit("/", 1)[-1]
        if libc in name and name.endswith(f"_{machine}.whl"):
            return wheel
    raise CannotInstall(f"there is no uv for {libc} on {machine}")


if __name__ == "__main__":
    sys.exit(main())
