"""The platform's own copy of `sandyard-agentscope`, as a wheel for builds: agents that require it get this one, never the index'.

The server's environment has it as files only, since AgentScope's pins and the server's exclude each other; nothing of it is imported here.
"""

from __future__ import annotations

import base64
import hashlib
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "sandyard-agentscope"
_PACKAGED = Path(__file__).parents[1] / "bundled" / "agentscope"
"""Where the server's wheel has it; in a checkout it is a neighbour."""
_NEIGHBOUR = Path(__file__).parents[4] / "agentscope"
_WHEEL = "Wheel-Version: 1.0\nGenerator: sandyard\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_wheel(directory: Path) -> Path | None:
    """Write the wheel into `directory` and return its path; None where this installation has no copy. Blocking."""
    source = next((place for place in (_PACKAGED, _NEIGHBOUR) if (place / "pyproject.toml").is_file()), None)
    if source is None:
        return None
    project: dict[str, Any] = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stem = f"{NAME.replace('-', '_')}-{project['version']}"
    info = f"{stem}.dist-info"
    files = {**dict(_code(source)), f"{info}/METADATA": _metadata(project).encode(), f"{info}/WHEEL": _WHEEL.encode()}
    scripts = "".join(f"{name} = {target}\n" for name, target in project["scripts"].items())
    files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}".encode()
    path = directory / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{info}/RECORD", "".join(_recorded(name, content) for name, content in files.items()) + f"{info}/RECORD,,\n")
    return path


def override(wheel: Path) -> str:
    """Return the line of uv's overrides by which the requirement means this wheel, which lies in the build's tools."""
    return f"{NAME} @ file://${{BUILD_TOOLS}}/{wheel.name}\n"


def _code(source: Path) -> Iterator[tuple[str, bytes]]:
    for root in (source / "src", source / "shim"):
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                yield path.relative_to(root).as_posix(), path.read_bytes()


def _metadata(project: dict[str, Any]) -> str:
    lines = ["Metadata-Version: 2.3", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Python: {project['requires-python']}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in project["dependencies"]]
    for extra, requirements in project["optional-dependencies"].items():
        lines += [f"Provides-Extra: {extra}"]
        lines += [f'Requires-Dist: {requirement} ; extra == "{extra}"' for requirement in requirements]
    return "\n".join(lines) + "\n"


def _recorded(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"
