"""`ppio_sandbox.agent_runtime.exceptions` under the name of seed 002 §3.1."""

from __future__ import annotations

from ppio_sandbox.agent_runtime.exceptions import PPIOAgentRuntimeError, RuntimeError, ValidationError  # noqa: A004 (seed 001 §6.1)

__all__ = ["PPIOAgentRuntimeError", "RuntimeError", "ValidationError"]
