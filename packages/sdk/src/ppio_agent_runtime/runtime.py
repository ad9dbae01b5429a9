"""`ppio_sandbox.agent_runtime.runtime` under the name of seed 002 §3.1."""

from __future__ import annotations

from typing import Any

from ppio_sandbox.agent_runtime import runtime as _original

__all__ = list(_original.__all__)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in __all__:  # above all not `__path__`: modules below the original would be imported a second time
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_original, name)
