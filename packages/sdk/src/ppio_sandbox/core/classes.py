"""The classes of `e2b` that talk to the platform, each with PPIO's names mixed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import e2b

from ppio_sandbox.core.names import PpioNames, completed

if TYPE_CHECKING:
    from typing import Unpack

    from e2b import E2BClientParams


class Sandbox(PpioNames, e2b.Sandbox):
    """`e2b.Sandbox` on the platform that `PPIO_*` names."""


class AsyncSandbox(PpioNames, e2b.AsyncSandbox):
    """`e2b.AsyncSandbox` on the platform that `PPIO_*` names."""


class Template(PpioNames, e2b.Template):
    """`e2b.Template` on the platform that `PPIO_*` names."""


class AsyncTemplate(PpioNames, e2b.AsyncTemplate):
    """`e2b.AsyncTemplate` on the platform that `PPIO_*` names."""


class Volume(PpioNames, e2b.Volume):
    """`e2b.Volume` on the platform that `PPIO_*` names."""


class AsyncVolume(PpioNames, e2b.AsyncVolume):
    """`e2b.AsyncVolume` on the platform that `PPIO_*` names."""


class Secret(PpioNames, e2b.Secret):
    """`e2b.Secret` on the platform that `PPIO_*` names."""


class AsyncSecret(PpioNames, e2b.AsyncSecret):
    """`e2b.AsyncSecret` on the platform that `PPIO_*` names."""


class E2B(e2b.E2B):
    """`e2b.E2B`, whose classes are bound, where its arguments name none, to the platform of `PPIO_*`."""

    def __init__(self, **opts: Unpack[E2BClientParams]) -> None:
        super().__init__(**completed(opts))
