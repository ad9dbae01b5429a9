"""Puts sandyard-agentscope into the server's distributions, as files: agents' builds make a wheel of it (work/agentscope.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PARTS = ("pyproject.toml", "src", "shim")


class Bundled(BuildHookInterface[Any]):
    """Takes the neighbour's files in a checkout, and those that a source distribution has brought along."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files; an editable installation finds its neighbour by itself."""
        if version == "editable":
            return
        root = Path(self.root)
        source = next(place for place in (root / "agentscope", root.parent / "agentscope") if (place / "pyproject.toml").is_file())
        target = "agentscope" if self.target_name == "sdist" else "sandyard/bundled/agentscope"
        build_data["force_include"] |= {str(source / part): f"{target}/{part}" for part in PARTS}
