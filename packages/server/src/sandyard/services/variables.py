"""The variables that an owner gives a sandbox, sealed for its row: they may hold secrets, and are needed whenever it starts again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from sandkit.wire.errors import INTERNAL, ApiError
from sandyard.domain.sandboxes import SandboxState
from sandyard.services.envelopes import EnvelopeBroken, NoMasterKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.domain.sandboxes import Sandbox
    from sandyard.ports import SandboxRows
    from sandyard.services.envelopes import Envelopes

_LIVING = tuple(state for state in SandboxState if not state.final)
_log = structlog.get_logger("sandyard.variables")


class Variables:
    """Seals and opens them; each sealed text opens for its own sandbox only."""

    def __init__(self, envelopes: Envelopes) -> None:
        self._envelopes = envelopes

    async def sealed(self, sandbox_id: str, env: Mapping[str, str]) -> str:
        """Return what goes into the row: nothing for nothing.

        Raises:
            ApiError: `internal`: there is no master key; the operator is told.
        """
        if not env:
            return ""
        try:
            return await self._envelopes.seal(json.dumps(dict(env)).encode(), *_bound(sandbox_id))
        except NoMasterKey as error:
            raise alarm(error, f"the variables of {sandbox_id}") from None

    async def of(self, row: Sandbox) -> Mapping[str, str]:
        """Return a sandbox's variables.

        Raises:
            ApiError: `internal`: they do not open; the operator is told.
        """
        if not row.sealed_env:
            return {}
        try:
            return json.loads(await self._envelopes.open(row.sealed_env, *_bound(row.id)))
        except (EnvelopeBroken, NoMasterKey) as error:
            raise alarm(error, f"the variables of {row.id}") from None

    async def renew(self, rows: SandboxRows) -> tuple[int, int]:
        """Put the keys of all under the newest master key; return how many were changed, and how many cannot be opened."""
        changed = broken = 0
        for row in await rows.list(states=_LIVING, limit=100_000):
            if not row.sealed_env:
                continue
            try:
                sealed = await self._envelopes.renew(row.sealed_env, *_bound(row.id))
            except EnvelopeBroken:
                broken += 1
            else:
                changed += sealed is not None and await rows.change(row.id, _LIVING, sealed_env=sealed) is not None
        return changed, broken


def _bound(sandbox_id: str) -> tuple[str, str]:
    return ("sandbox-env", sandbox_id)


def alarm(error: Exception, what: str) -> ApiError:
    """Say to the operator what the caller shall not know; return what the caller is told."""
    _log.critical("what is sealed cannot be used; look for a changed database or missing master keys", what=what, reason=str(error))
    return ApiError(INTERNAL, f"The platform cannot use {what} now; its operator has been told")
