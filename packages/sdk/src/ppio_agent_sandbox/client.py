"""`ppio_sandbox.agent_runtime.client` under the name of seed 001 §7."""

from __future__ import annotations

from typing import Any

from ppio_sandbox.agent_runtime import client

__all__ = list(client.__all__)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return getattr(client, name)
