"""What sandboxes stand on, made when the first one wants it: the host's system for those who may change it, an interpreter for images."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

from . import interpreter, plan, skeleton

if TYPE_CHECKING:
    from pathlib import Path

    from sandyard.domain.specs import SandboxSpec


class Grounds:
    """Those of one data directory. A server sees the host as it was when it first asked; the next one looks again."""

    def __init__(self, data_dir: Path, isolation: Literal["full", "none"]) -> None:
        self._data_dir = data_dir
        self._isolated = isolation == "full"

    def of(self, spec: SandboxSpec, *, has_root: bool) -> plan.Ground:
        """Return what the spec's system wants of this machine. Blocking, the first time.

        Raises:
            NotSupported: it cannot be made here.
        """
        if not self._isolated or (spec.root is None and spec.system == "fixed"):
            return plan.Ground()
        if spec.root is not None:
            return plan.Ground(has_root=has_root, interpreter=self._interpreter)
        return plan.Ground(has_root=has_root, base=self._base)

    @cached_property
    def _base(self) -> Path:
        return skeleton.make(self._data_dir)

    @cached_property
    def _interpreter(self) -> interpreter.Interpreter:
        return interpreter.make(self._data_dir)
