"""The classes of `e2b_code_interpreter` that talk to the platform, each with PPIO's names mixed in."""

from __future__ import annotations

import e2b_code_interpreter

from ppio_sandbox.core.names import PpioNames


class Sandbox(PpioNames, e2b_code_interpreter.Sandbox):
    """`e2b_code_interpreter.Sandbox` on the platform that `PPIO_*` names."""


class AsyncSandbox(PpioNames, e2b_code_interpreter.AsyncSandbox):
    """`e2b_code_interpreter.AsyncSandbox` on the platform that `PPIO_*` names."""
