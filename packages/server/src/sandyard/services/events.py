"""What happens to sandboxes, noted for their owners."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import structlog

from sandyard.domain.errors import StoreError
from sandyard.domain.sandboxes import SandboxEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.domain.sandboxes import Sandbox
    from sandyard.services.context import Context

PREFIX = "sandbox.lifecycle."
_log = structlog.get_logger("sandyard.events")


class Events:
    """Writes and reads them; the reconcile loop forgets them after a week."""

    def __init__(self, context: Context) -> None:
        self._rows = context.store.events
        self._clock = context.clock

    async def note(self, row: Sandbox, type_: str, **data: str) -> None:
        """Note that something happened. What cannot be noted (a full disk) is logged and undoes nothing."""
        event = SandboxEvent(
            id=secrets.token_hex(16),
            sandbox_id=row.id,
            owner=row.owner,
            template_id=row.template_id,
            build_id=row.build_id,
            type=PREFIX + type_,
            at=self._clock.now(),
            data=data,
        )
        try:
            await self._rows.add(event)
        except StoreError as error:
            _log.warning("an event could not be noted", sandbox=row.id, type=type_, error=str(error))

    async def list(
        self, owner: str, *, sandbox_id: str | None, types: Sequence[str], offset: int, limit: int, oldest_first: bool
    ) -> Sequence[SandboxEvent]:
        """Return what happened to the owner's sandboxes, or to one; `types` as they are told, with or without the prefix."""
        words = [type_ if type_.startswith(PREFIX) else PREFIX + type_ for type_ in types]
        return await self._rows.list(owner, sandbox_id=sandbox_id, types=words, limit=limit, offset=offset, oldest_first=oldest_first)
