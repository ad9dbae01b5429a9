"""Wheels for tests: a package that pip installs without an index."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_wheel(directory: Path, name: str, source: str) -> Path:
    """Write the wheel of a package that is one module; return its path."""
    path = directory / f"{name}-1-py3-none-any.whl"
    files = {
        f"{name}.py": source,
        f"{name}-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{name}-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{name}-1.dist-info/RECORD"
    with zipfile.ZipFile(path, "w") as wheel:
        for inner, text in files.items():
            wheel.writestr(inner, text)
        wheel.writestr(record, "".join(f"{inner},,\n" for inner in (*files, record)))
    return path
