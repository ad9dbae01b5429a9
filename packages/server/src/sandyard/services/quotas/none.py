"""Nobody is counted: the twins for tests and for a platform without quotas, child tokens or audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.domain.callers import Caller
    from sandyard.services.prefabs.neighbours import CallRef


class NoQuotas:
    """`neighbours.Quotas` that admit everything."""

    async def reserve(self, caller: Caller, ref: CallRef) -> None: ...

    async def settle(self, ref: CallRef, *, seconds: float, succeeded: bool) -> None: ...

    async def release(self, ref: CallRef) -> None: ...


class NoTokens:
    """`neighbours.ChildTokens` that mint none."""

    def mint(self, caller: Caller, ref: CallRef) -> Mapping[str, str]:
        del caller, ref
        return {}

    def end(self, ref: CallRef) -> None: ...


class NoAudit:
    """`neighbours.Audit` that forgets."""

    async def note(self, caller: Caller, action: str, subject: str, outcome: str) -> None: ...
