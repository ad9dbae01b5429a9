"""The templates that we ship: `base`, and `code-interpreter-v1` with Jupyter kernels behind port 49999."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sandkit
from sandyard.domain.templates import Recipe, Step
from sandyard.services.specs import HOME, SYSTEM_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INTERPRETER = "code-interpreter-v1"
_ROOT = "/opt/interpreter"
_SITE = f"{_ROOT}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
_BASE_PYTHON = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
_KERNELS = ("ipykernel>=7.1,<8", "jupyter-client>=8.6,<9", "orjson>=3.10", "bash-kernel>=0.10,<0.11", "deno>=2.4,<3")
_FORMATS = ("e2b-charts>=1,<2",)
_USEFUL = ("numpy>=2", "pandas>=2.2,<3", "matplotlib>=3.10,<3.11", "pillow", "requests", "beautifulsoup4", "openpyxl", "pip")
"""What code for data that people let models write imports most, where it is small; pip fetches the rest. The majors are those of
E2B's own template: newer ones take arguments away that such code still gives.
"""
_INSTALL = f"""\
export UV_CACHE_DIR={_ROOT}/.cache UV_NO_PROGRESS=1 UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never
/opt/uv/uv venv --quiet --no-project --allow-existing --python {_BASE_PYTHON} {_ROOT}
/opt/uv/uv pip install --python {_ROOT}/bin/python {" ".join(f"'{name}'" for name in (*_KERNELS, *_FORMATS, *_USEFUL))}
rm -rf {_ROOT}/.cache"""
_CHECK = f"{_ROOT}/bin/python -I -m compileall -q {_SITE}/sandkit && {_ROOT}/bin/python -I -m sandkit.interpreter.check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin:
    """What a built-in template is made of. A COPY step's `files_hash` names an entry of `files`: a host directory to copy from."""

    recipe: Recipe = field(default_factory=Recipe)
    files: Mapping[str, Path] = field(default_factory=dict[str, "Path"])

    @property
    def version(self) -> str:
        """A tag that changes with what is shipped."""
        digest = hashlib.sha256(json.dumps(asdict(self.recipe), sort_keys=True).encode())
        for name, directory in sorted(self.files.items()):
            digest.update(f"{name}\0{_contents(directory)}\0".encode())
        return f"v-{digest.hexdigest()[:16]}"


def base() -> Builtin:
    """The host's system as it is, with a home: nothing to build."""
    return Builtin()


def code_interpreter() -> Builtin:
    """`base` with an environment of its own, which is the user's, and the program of `sandkit.interpreter` started in it."""
    program = Path(sandkit.__file__).resolve().parent / "interpreter"
    copied = f"interpreter-{_contents(program)}"  # another program is another step: nothing of an earlier build stands in for it
    steps = (
        Step(type="WORKDIR", args=(_ROOT,)),
        Step(type="RUN", args=(_INSTALL,)),
        Step(type="COPY", args=(".", f"{_SITE}/sandkit/interpreter/", "", ""), files_hash=copied),
        Step(type="ENV", args=("PATH", f"{_ROOT}/bin:{HOME}/.local/bin:{SYSTEM_PATH}", "VIRTUAL_ENV", _ROOT)),
        Step(type="WORKDIR", args=(HOME,)),
        Step(type="RUN", args=(_CHECK,)),
    )
    recipe = Recipe(
        steps=steps,
        start_cmd=f"exec {_ROOT}/bin/python -I -m sandkit.interpreter",
        ready_cmd=f"exec {_ROOT}/bin/python -I -S {_SITE}/sandkit/interpreter/ready.py",
    )
    return Builtin(recipe=recipe, files={copied: program})


def _contents(directory: Path) -> str:
    """Return a digest of a directory's files, compiled ones left out."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(directory)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


BUILTINS: Mapping[str, Callable[[], Builtin]] = {"base": base, INTERPRETER: code_interpreter}
