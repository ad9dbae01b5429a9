"""Where a prefab version lies on the disk, and what its sandbox is started with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import sandkit
from sandkit.prefabs.frames import PORT
from sandyard.domain.specs import Mount, SandboxSpec
from sandyard.services.specs import APP, VENV, environment

if TYPE_CHECKING:
    from sandyard.config import Settings
    from sandyard.domain.prefabs import Manifest

_KIT = "/opt/sandyard/runner/sandkit"
"""Our kit once more, as a mount: a back end without mounts finds it by that, too."""
CALLS = "/home/user/calls"
"""Where each call has its directory."""
REQUIREMENTS = "requirements.txt"
"""In a version's directory: what its package needs, a line each."""
START_SECONDS = 60.0
"""How long the import of a prefab's module may take."""
_ONE_THREAD: dict[str, str] = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS"), "1")
"""Number libraries start threads when they are imported, and a fork has none of them."""


def prefab_dir(settings: Settings, version_id: str) -> Path:
    """Return the directory of a version: `app/` (the package), `venv/` (what was installed), `tools/` (what installed it)."""
    return settings.data_dir / "prefabs" / version_id


def worker_spec(settings: Settings, version_id: str, manifest: Manifest, worker_id: str, *, ends_at: float) -> SandboxSpec:
    """Return the spec of a warm sandbox of that version; it is started when the module is imported."""
    home = prefab_dir(settings, version_id)
    bounds = settings.limits
    wished = environment(settings, worker_id, _ONE_THREAD)
    return SandboxSpec(
        sandbox_id=worker_id,
        command=(f"{VENV}/bin/python", "-I", "-B", f"{_KIT}/prefabs/__main__.py"),
        cwd=APP,
        env=wished | {"PREFAB_HOME": APP, "PREFAB_ENTRY": manifest.entry_point, "PREFAB_CALLS": CALLS},
        mounts=(Mount(home / "venv", VENV, "ro"), Mount(home / "app", APP, "ro"), Mount(Path(sandkit.__file__).parent, _KIT, "ro")),
        limits=replace(bounds, cpus=min(bounds.cpus, max(1.0, manifest.cpus))),
        egress=settings.egress,
        ready_port=PORT,
        ready_timeout=START_SECONDS,
        ends_at=ends_at,
    )
