"""Whether this machine can mount file systems that lie in files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

HERE = (
    os.geteuid() == 0 and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4", path=f"{os.defpath}:/usr/sbin:/sbin") is not None
)

needs_loops = pytest.mark.skipif(not HERE, reason="takes root, loop devices and mkfs.ext4")
