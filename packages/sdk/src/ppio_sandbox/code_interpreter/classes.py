"""The classes of `e2b_code_interpreter` that talk to the platform, each with PPIO's names mixed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import e2b_code_interpreter

from ppio_sandbox.core.names import PpioNames, completed

if TYPE_CHECKING:
    from typing import Unpack

    from e2b import E2BClientParams


class Sandbox(PpioNames, e2b_code_interpreter.Sandbox):
    """`e2b_code_interpreter.Sandbox` on the platform that `PPIO_*` names."""


class AsyncSandbox(PpioNames, e2b_code_interpreter.AsyncSandbox):
    """`e2b_code_interpreter.AsyncSandbox` on the platform that `PPIO_*` names."""


class E2B(e2b_code_interpreter.E2B):
    """`e2b_code_interpreter.E2B`, whose classes are bound, where its arguments name none, to the platform of `PPIO_*`."""

    def __init__(self, **opts: Unpack[E2BClientParams]) -> None:
        super().__init__(**completed(opts))
