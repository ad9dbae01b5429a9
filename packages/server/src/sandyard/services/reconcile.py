"""Rows against what the back end holds: the wish is the row, `plan` says what must be done, `Reconciler` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from sandyard.domain.errors import BackendError
from sandyard.domain.sandboxes import SandboxState
from sandyard.services.lifecycle import LIVING, Lifecycle
from sandyard.services.specs import agent_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sandyard.domain.sandboxes import Sandbox
    from sandyard.domain.specs import Found
    from sandyard.services.context import Context

REMEMBERED_SECONDS = 7 * 24 * 3600.0
"""How long after its time a sandbox that ended can still be asked about."""
LOST = "The sandbox ended while the server was away"
INTERRUPTED = "The server was restarted while the sandbox started"
_log = structlog.get_logger("sandyard.reconcile")


@dataclass(frozen=True, slots=True)
class Action:
    """`fail` ends a row, `stop` what has no row, `tidy` what its row says is not there; `freeze` and `thaw` make it as the row says."""

    verb: Literal["fail", "stop", "tidy", "freeze", "thaw"]
    sandbox_id: str
    reason: str = ""


def plan(wanted: Mapping[str, Sandbox], found: Mapping[str, Found], known: Collection[str], busy: Collection[str]) -> Sequence[Action]:
    """Return what makes the back end and the rows agree.

    `wanted`: the living rows read before `found`; `known`: the ids of living rows read after it (a row is older than its
    sandbox, so what is found without one is nobody's); `busy`: ids whose start or build this server has under way.
    """
    rows = [_for_row(row, found.get(row.id)) for row in wanted.values() if row.id not in busy]
    strays = [Action("stop", id_) for id_ in found if id_ not in known and id_ not in wanted and id_ not in busy]
    return [action for action in rows if action is not None] + strays


def _unchanged(before: Mapping[str, Sandbox], after: Mapping[str, Sandbox]) -> Mapping[str, Sandbox]:
    """Return the rows that said the same while the back end was asked: only of them is known what they should be compared with."""
    states = {id_: (row.state, row.saved) for id_, row in after.items()}
    return {id_: row for id_, row in before.items() if states.get(id_) == (row.state, row.saved)}


def _for_row(row: Sandbox, found: Found | None) -> Action | None:
    if row.state is SandboxState.STARTING:
        return Action("fail", row.id, INTERRUPTED)
    if row.saved:
        return None if found is None else Action("tidy", row.id)
    if found is None:
        return Action("fail", row.id, LOST)
    if found.frozen == (row.state is SandboxState.PAUSED):
        return None
    return Action("thaw" if found.frozen else "freeze", row.id)


class Reconciler:
    """Carries plans out."""

    def __init__(self, context: Context, lifecycle: Lifecycle) -> None:
        self._context = context
        self._rows = context.store.sandboxes
        self._lifecycle = lifecycle

    async def adopt(self) -> int:
        """Make everything agree once, before the listeners open; return how many sandboxes an earlier server left."""
        for row in await self._rows.list(states=LIVING, limit=100_000):
            template = await self._context.store.templates.get_template(row.template_id)
            build = await self._context.store.builds.get(row.build_id)
            self._lifecycle.adopt(row, agent_name(template, build))
        await self.run_once(busy=())
        return len(await self._rows.list(states=LIVING, limit=100_000))

    async def run_once(self, busy: Collection[str]) -> None:
        """Compare and mend; forget what ended long ago."""
        wanted = {row.id: row for row in await self._rows.list(states=LIVING, limit=100_000)}
        found = {item.sandbox_id: item for item in await self._context.backend.list()}
        known = {row.id: row for row in await self._rows.list(states=LIVING, limit=100_000)}
        for action in plan(_unchanged(wanted, known), found, known, busy):
            _log.info("reconcile", verb=action.verb, sandbox=action.sandbox_id, reason=action.reason)
            try:
                await self._do(action)
            except BackendError as error:
                _log.warning("reconcile failed", verb=action.verb, sandbox=action.sandbox_id, error=str(error))
        now = self._context.clock.now()
        await self._rows.forget(now - REMEMBERED_SECONDS)
        await self._context.store.events.forget(now - REMEMBERED_SECONDS)

    async def _do(self, action: Action) -> None:
        backend = self._context.backend
        match action.verb:
            case "fail":
                exited = await self._context.supervision.ended(action.sandbox_id)
                reason = action.reason if exited is None else exited.reason
                await self._lifecycle.end(action.sandbox_id, SandboxState.FAILED, reason, exited)
            case "stop":
                await backend.stop(action.sandbox_id)
            case "tidy":
                await self._lifecycle.tidy(action.sandbox_id)
            case "freeze":
                await backend.freeze(action.sandbox_id)
            case "thaw":
                await backend.thaw(action.sandbox_id)
