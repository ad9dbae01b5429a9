"""Running as an ordinary user: where the tests are root, as another uid, with an interpreter that everybody may read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

USER = 54321
SYSTEM_PYTHON = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
_NEEDED = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROBE_SECONDS = 30


def program(*wrapper: str) -> list[str]:
    """Return the words that start Python as the ordinary user; skips the test where this machine cannot."""
    if not (SYSTEM_PYTHON.exists() and shutil.which("setpriv")):
        pytest.skip("this machine has no other interpreter of this version that every user can read")
    words = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", *wrapper, str(SYSTEM_PYTHON)]
    command = [*words, "-c", "import pytest, sandyard"]
    probe = subprocess.run(command, env=environment(Path("/")), cwd="/", capture_output=True, check=False, timeout=_PROBE_SECONDS)
    if probe.returncode:
        pytest.skip("the checkout lies where another user cannot read it, or the machine gives no such user")
    return words


def environment(home: Path) -> dict[str, str]:
    """Return what such a process finds: these tests' packages, and none of root's places."""
    packages = sysconfig.get_path("purelib")
    paths = [packages, *(path for path in sys.path if "packages" in path or path.endswith("tests"))]
    found = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    return found | {"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ":".join(paths)}
