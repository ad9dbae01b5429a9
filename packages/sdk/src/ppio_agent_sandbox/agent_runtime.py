"""`ppio_sandbox.agent_runtime` under the name of seed 001 §9.3."""

from __future__ import annotations

from typing import Any

from ppio_sandbox import agent_runtime

__all__ = list(agent_runtime.__all__)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return getattr(agent_runtime, name)
