"""An image that stands for `python:3.12-slim`: this machine's shell and interpreter, pip, and a wheel of our SDK beside what it needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import uv

from support.registry import host_members, layer, libraries, special

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import Distribution, PackagePath

    from support.registry import Member

SDK = Path(__file__).parents[2] / "packages" / "sdk"
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
WHEELS = "opt/wheels"
PIP_CONF = f"[global]\nno-index = true\nfind-links = /{WHEELS}\ndisable-pip-version-check = true\nroot-user-action = ignore\n"
"""pip asks no index: what our SDK needs is installed in the image, and only our SDK is not."""
PIP = '#!/bin/sh\nexec python -m pip "$@"\n'
_LEFT_OUT = re.compile(
    r"/(__pycache__|site-packages|dist-packages|test|tests|idlelib|lib2to3|tkinter|ensurepip|config-[^/]*)(/|$)|\.a$|/_tkinter"
)
_UNUSED = ("pyqwest/", "protobuf_ext/", "e2b/", "pygments/")
"""Large, and no agent imports it: pip looks at its metadata only."""


def python_layer(directory: Path) -> bytes:
    """Return the image's one layer; `directory` is empty and for what is made on the way."""
    tool = uv.find_uv_bin()
    for what in (("build", "--wheel", "--out-dir", directory / "wheels", SDK), ("pip", "install", "--target", directory / "pip", "pip")):
        subprocess.run([tool, "--quiet", *what], check=True, timeout=300)
    interpreter = os.path.realpath(sys.executable)
    stdlib = Path(sysconfig.get_path("stdlib"))
    files = {str(path): str(path) for path in [Path(interpreter), *_files(stdlib)]}
    site = _site(interpreter)
    for found in _closure("sandyard-sdk"):
        files |= {f"{site}/{path}": str(found.locate_file(path)) for path in found.files or () if _is_wanted(path)}
    files |= {f"{site}/{path.relative_to(directory / 'pip')}": str(path) for path in _files(directory / "pip")}
    linked = [source for path, source in files.items() if ".so" in path or path == interpreter]
    files |= {path: path for path in (line.split()[2] for line in libraries(*linked) if "=> /" in line)}
    files |= {f"/{WHEELS}/{path.name}": str(path) for path in (directory / "wheels").glob("*.whl")}
    members = {_name(member): member for member in (*host_members(), *_members(interpreter, files))}
    twice = f"usr{sys.base_prefix}/" if not sys.base_prefix.startswith("/usr") else None
    return layer(*(member for name, member in members.items() if twice is None or not name.startswith(twice)))


def _members(interpreter: str, files: dict[str, str]) -> Iterator[Member]:
    folders = {folder for path in files for folder in Path(path).parents} | {Path("/usr/local/bin")}
    yield from (special(str(folder)[1:], tarfile.DIRTYPE) for folder in sorted(folders) if folder != Path("/") and not _is_link(folder))
    yield from ((_place(path), Path(source).read_bytes()) for path, source in sorted(files.items()) if Path(source).is_file())
    yield from (special(f"usr/local/bin/{name}", tarfile.SYMTYPE, interpreter) for name in ("python", "python3"))
    yield "usr/local/bin/pip", PIP.encode()
    yield "etc/pip.conf", PIP_CONF.encode()


def _name(member: Member) -> str:
    return member[0] if isinstance(member[0], str) else member[0].name


def _is_wanted(path: PackagePath) -> bool:
    return path.suffix != ".pyc" and ".." not in path.parts and not str(path).startswith(_UNUSED)


def _is_link(folder: Path) -> bool:
    """Tell whether this is one of the image's links into /usr, or below it."""
    return folder.parts[1] in {"bin", "lib", "lib64"}


def _place(path: str) -> str:
    return f"usr{path}" if _is_link(Path(path)) else path[1:]


def _files(top: Path) -> Iterable[Path]:
    return (path for path in top.rglob("*") if path.is_file() and not _LEFT_OUT.search(str(path.relative_to(top.parent))))


def _site(interpreter: str) -> str:
    """Return where that interpreter, outside of a virtual environment, looks for packages."""
    asked = [interpreter, "-I", "-c", "import site; print(site.getsitepackages()[0])"]
    return subprocess.run(asked, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def _closure(name: str) -> list[Distribution]:
    """Return what is installed here of all that `name` needs, without itself."""
    found: dict[str, Distribution] = {}
    wanted = [name]
    while wanted:
        one = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        try:
            if one not in found:
                found[one] = distribution(one)
                wanted += [re.split(r"[^\w.-]", line)[0] for line in found[one].requires or () if "extra ==" not in line]
        except PackageNotFoundError:
            continue  # it is for other systems
    del found[name]
    return list(found.values())
