"""What a build runs inside its sandbox: uv makes the environment, our SDK is laid beside what the agent wants.

Everything that may run foreign code (`setup.py`) or follow a foreign link happens in there; the host only prepares `tools/`.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import distribution, requires
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sandyard import trees
from sandyard.domain.specs import MEBIBYTE, EgressPolicy, Limits, Mount, SandboxSpec
from sandyard.services.specs import APP, VENV, build_dir, environment
from sandyard.work import agentscope

if TYPE_CHECKING:
    from sandyard.config import Settings
    from sandyard.domain.templates import Build

OURS = ("ppio-sandbox", "sandyard-sdk", "ppio-agent-sandbox", "ppio-agent-runtime")
"""Requirements that the platform satisfies itself; the public index has foreign packages of such names."""
PACKAGES = ("sandkit", "ppio_sandbox", "gateway_sdk", "ppio_agent_runtime", "ppio_agent_sandbox")
_TOOLS = "/opt/sandyard/build"
_UV = "/opt/uv"
_SDK = "/opt/sandyard/sdk"
_PLACES = {
    "BASE_PYTHON": str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"),
    "BUILD_APP": APP,
    "BUILD_SDK": _SDK,
    "BUILD_TOOLS": _TOOLS,
    "BUILD_UV": f"{_UV}/uv",
    "BUILD_VENV": VENV,
}
"""Told by variables, whose values a back end without mounts replaces by places on the host."""
_UV_SETTINGS = {"UV_CACHE_DIR": f"{VENV}/.uv-cache", "UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never"}
"""The cache lies beside the environment, where files are linked and not copied; it goes with the build."""
_SCRIPT = """\
set -eu
cd "$BUILD_APP"
set -- -r "$BUILD_TOOLS/sdk.txt"
if grep -Eqs "^[[:space:]]*[^#[:space:]]" requirements.txt; then set -- "$@" -r requirements.txt; fi
python="$BUILD_VENV/bin/python"
"$BUILD_UV" venv --quiet --no-cache --no-project --allow-existing --python "$BASE_PYTHON" "$BUILD_VENV"
"$BUILD_UV" pip install --python "$python" --compile-bytecode --override "$BUILD_TOOLS/overrides.txt" "$@"
rm -rf "$UV_CACHE_DIR"
site=$("$python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cp -R "$BUILD_SDK/." "$site/"
for package in "$BUILD_SDK"/*/__init__.py; do
    "$python" -I -m compileall -q "$site/$(basename "$(dirname "$package")")"
done
"""
BUILD_DISK = 4096 * MEBIBYTE


def stage_sdk(directory: Path) -> None:
    """Copy our SDK and its metadata to `directory`, anew: one source for wheels and editable installs alike. Blocking."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    sdk = distribution("sandyard-sdk")
    metadata = directory / f"sandyard_sdk-{sdk.version}.dist-info"
    metadata.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        text = sdk.read_text(name)
        if text is not None:
            (metadata / name).write_text(text)
    (metadata / "INSTALLER").write_text("sandyard\n")


def prepare(home: Path) -> None:
    """Lay out a build's directories, removing what an earlier attempt left. Blocking."""
    for name in ("venv", "tools"):
        trees.remove(home / name)
        (home / name).mkdir(parents=True)
    tools = home / "tools"
    wheel = agentscope.make_wheel(tools)
    ours = "".join(f'{name} ; sys_platform == "never"\n' for name in OURS)
    (tools / "overrides.txt").write_text(ours + (agentscope.override(wheel) if wheel else ""))
    (tools / "sdk.txt").write_text("\n".join(requires("sandyard-sdk") or ()) + "\n")
    (tools / "install.sh").write_text(_SCRIPT)


def install_spec(settings: Settings, build: Build, uv: Path, *, ends_at: float) -> SandboxSpec:
    """Return the spec of the sandbox that installs. Its only way out is the package index."""
    home = build_dir(settings, build.id)
    index = {} if settings.index_url is None else {"UV_DEFAULT_INDEX": settings.index_url}
    env = environment(settings, build.id, _PLACES | _UV_SETTINGS | index)
    return SandboxSpec(
        sandbox_id=build.id,
        command=("/bin/sh", f"{_TOOLS}/install.sh"),
        cwd="/home/user",
        env=env,
        mounts=(
            Mount(home / "venv", VENV, "rw"),
            Mount(home / "app", APP, "overlay"),
            Mount(home / "tools", _TOOLS, "ro"),
            Mount(settings.data_dir / "sdk", _SDK, "ro"),
            Mount(uv.parent, _UV, "ro"),
        ),
        limits=Limits(memory_bytes=max(2048 * MEBIBYTE, settings.limits.memory_bytes), cpus=2.0, processes=1024),
        egress=EgressPolicy(public=False, allow=settings.index_hosts),
        ready_port=None,
        ends_at=ends_at,
    )
