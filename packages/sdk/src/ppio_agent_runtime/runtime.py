"""`ppio_sandbox.agent_runtime.runtime` under the name of seed 002 §3.1."""

from __future__ import annotations

from typing import Any

from ppio_sandbox.agent_runtime import runtime

__all__ = list(runtime.__all__)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return getattr(runtime, name)
