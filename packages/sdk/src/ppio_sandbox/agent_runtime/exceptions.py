"""What goes wrong, seen from Python (seed 001 §6.1).

PPIOAgentRuntimeError
├── ValidationError      (also a ValueError)
├── RuntimeError         (also the builtin RuntimeError)
└── AgentClientError …   (client/exceptions.py)
"""

from __future__ import annotations

import builtins

__all__ = ["PPIOAgentRuntimeError", "RuntimeError", "ValidationError"]


class PPIOAgentRuntimeError(Exception):
    """The base of all errors of this package. `error_code` is a stable word for programs."""

    def __init__(self, message: str, error_code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code


class ValidationError(PPIOAgentRuntimeError, ValueError):
    """A value that was given is not acceptable."""


class RuntimeError(PPIOAgentRuntimeError, builtins.RuntimeError):  # noqa: A001 (seed 001 §6.1 names it so; the builtin catches it too)
    """The agent's service was used in a way that cannot work, for example without an entrypoint."""
