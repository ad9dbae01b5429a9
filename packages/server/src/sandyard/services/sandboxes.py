"""Sandboxes for callers: who may do what with which, and what to say when it cannot be done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sandkit.wire.errors import CONFLICT, INVALID_REQUEST, SANDBOX_NOT_FOUND, ApiError
from sandyard.domain.errors import BackendError, SandboxGone
from sandyard.domain.sandboxes import Network, Sandbox, SandboxState
from sandyard.services import references
from sandyard.services.creation import DEFAULT_SECONDS, Creation, NewSandbox, said
from sandyard.services.lifecycle import LIVING, Lifecycle
from sandyard.services.locks import Locks
from sandyard.services.specs import limits_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from sandyard.domain.sandboxes import SandboxEvent
    from sandyard.domain.specs import Limits
    from sandyard.domain.templates import Build
    from sandyard.services.admission import Admission
    from sandyard.services.company import Company
    from sandyard.services.context import Context
    from sandyard.services.metering import Metric
    from sandyard.services.outputs import Line
    from sandyard.services.templates import Templates

__all__ = ["DEFAULT_SECONDS", "NewSandbox", "Quota", "SandboxView", "Sandboxes", "Search", "Ways"]

_VISIBLE = (SandboxState.RUNNING, SandboxState.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxView:
    """A sandbox with what its description needs beside the row. `traffic_token` is None where everyone is admitted."""

    sandbox: Sandbox
    alias: str
    limits: Limits
    access_token: str
    traffic_token: str | None
    domain: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which of the owner's sandboxes are listed. `since` in Unix seconds, `after` is where the page before ended."""

    states: Sequence[SandboxState] = ()
    metadata: Mapping[str, str]
    template: str | None = None
    since: float | None = None
    oldest_first: bool = False
    limit: int
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Other ways out of and into a sandbox than it was made with; what is None stays."""

    network: Network | None = None
    public: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many sandboxes the server may hold and holds, and how many the owner has."""

    places: int
    used: int
    running: int
    paused: int


class Sandboxes:
    """The verbs on sandboxes; each is for one owner, and other owners' sandboxes do not exist."""

    def __init__(self, context: Context, templates: Templates, lifecycle: Lifecycle, admission: Admission, company: Company) -> None:
        self._context = context
        self._rows = context.store.sandboxes
        self._templates = templates
        self._lifecycle = lifecycle
        self._admission = admission
        self._company = company
        self._creation = Creation(context, templates, lifecycle, company)
        self._creating = Locks()

    async def create(self, owner: str, wanted: NewSandbox) -> SandboxView:
        """Start a sandbox and return it running. Cancelling ends it, unless an idempotency key lets the caller claim it.

        Raises:
            ApiError: `template_not_found`, `template_not_ready`, `rate_limited`, `agent_failed`, `unavailable`, `conflict`.
        """
        if wanted.idempotency_key is None:
            return await self._create(owner, wanted)
        async with self._creating.of(f"{owner}/{wanted.idempotency_key}"):
            row = await self._rows.by_idempotency_key(owner, wanted.idempotency_key)
            if row is not None and row.state in _VISIBLE:
                return await self.describe(row)
            if row is not None:
                await self._rows.change(row.id, [SandboxState.STOPPED, SandboxState.FAILED], idempotency_key=None)
            return await self._create(owner, wanted)

    async def copy(self, source: Sandbox, state_id: str, seconds: float) -> SandboxView:
        """Start a sandbox as `source`, with the files of a saved state; raises as `create`."""
        return await self.describe(await self._creation.from_state(source, state_id, seconds))

    async def get(self, owner: str, sandbox_id: str) -> SandboxView:
        """Return a running or paused sandbox.

        Raises:
            ApiError: `sandbox_not_found`; how it ended is in the details while it is remembered.
        """
        return await self.describe(await self.find(owner, sandbox_id))

    async def list(self, owner: str, search: Search) -> tuple[Sequence[SandboxView], str | None]:
        """Return a page, and where the next one starts.

        Raises:
            ApiError: `invalid_request`: `after` is no sandbox of the owner's.
        """
        found: list[Sandbox] = []
        cursor = search.after
        last = None if cursor is None else await self._rows.get(cursor)
        if cursor is not None and (last is None or last.owner != owner):
            raise ApiError(INVALID_REQUEST, "nextToken: leads nowhere; take what the header X-Next-Token said")
        templates = None if search.template is None else await self._template_ids(owner, search.template)
        while len(found) <= search.limit:
            page = await self._rows.list(
                owner=owner,
                states=search.states or _VISIBLE,
                limit=search.limit + 1,
                after=cursor,
                oldest_first=search.oldest_first,
                since=search.since,
                template_ids=templates,
            )
            found += [row for row in page if search.metadata.items() <= dict(row.metadata).items()]
            if len(page) <= search.limit:
                break
            cursor = page[-1].id
        shown = found[: search.limit]
        return [await self.describe(row) for row in shown], shown[-1].id if len(found) > search.limit else None

    async def kill(self, owner: str, sandbox_id: str) -> None:
        """End a sandbox; return when nothing of it is left."""
        row = await self.find(owner, sandbox_id, states=LIVING)
        if not await self._lifecycle.end(row.id, SandboxState.STOPPED, "It was closed"):
            raise await self._gone(row.id)

    async def pause(self, owner: str, sandbox_id: str, *, memory: bool = True) -> None:
        """Pause a running sandbox, with its processes or with its files only.

        Raises:
            ApiError: `conflict` if it is paused already; `not_implemented` where its files cannot be saved.
        """
        row = await self.find(owner, sandbox_id)
        if await self._done(row, self._lifecycle.pause(row.id, memory=memory)) is None:
            row = await self.find(owner, sandbox_id)
            raise ApiError(CONFLICT, f"The sandbox {row.id} is {row.state.value} already")

    async def connect(
        self, owner: str, sandbox_id: str, seconds: float | None, *, memory: bool = True, ways: Ways | None = None
    ) -> tuple[SandboxView, bool]:
        """Let a paused sandbox run on (True), or extend a running one's time (False); return it. `ways` hold before it runs."""
        row = await self._changed(await self.find(owner, sandbox_id), ways)
        resumed = await self._done(row, self._lifecycle.resume(row.id, seconds or DEFAULT_SECONDS, memory=memory))
        if resumed is not None:
            return await self.describe(resumed), True
        if seconds is not None:
            row = await self._lifecycle.set_end(row.id, seconds, only_later=True) or row
        return await self.get(owner, row.id), False

    async def reset(self, owner: str, sandbox_id: str, seconds: float | None, *, resume: bool, ways: Ways | None) -> SandboxView:
        """Take a sandbox back to what it began with. `ways` hold from then on.

        Raises:
            ApiError: `conflict` if it is neither running nor paused.
        """
        row = await self._changed(await self.find(owner, sandbox_id), ways)
        reset = await self._done(row, self._lifecycle.reset(row.id, seconds or row.timeout, resume=resume))
        if reset is None:
            raise ApiError(CONFLICT, f"The sandbox {row.id} cannot be reset now")
        return await self.describe(reset)

    async def set_network(self, owner: str, sandbox_id: str, network: Network) -> None:
        """Replace what a sandbox may reach; how it is reached stays."""
        row = await self.find(owner, sandbox_id)
        kept = replace(network, mask_request_host=row.network.mask_request_host, https_ports=row.network.https_ports)
        await self._changed(row, Ways(network=kept))

    async def set_timeout(self, owner: str, sandbox_id: str, seconds: float, *, only_later: bool = False) -> None:
        """Let a running sandbox end `seconds` from now (`only_later`: never sooner than it would)."""
        row = await self.find(owner, sandbox_id)
        if await self._lifecycle.set_end(row.id, seconds, only_later=only_later) is None:
            row = await self.find(owner, sandbox_id)
            raise ApiError(CONFLICT, f"The sandbox {row.id} is {row.state.value}; its time runs when it is resumed")

    async def output(self, owner: str, sandbox_id: str) -> Sequence[Line]:
        """Return the lines that the sandbox's command printed last (up to 256 KiB)."""
        return await self._company.outputs.lines(await self.find(owner, sandbox_id))

    async def metrics(self, owner: str, sandbox_id: str, start: float | None, end: float | None) -> Sequence[Metric]:
        """Return what a sandbox used, oldest first.

        Raises:
            NotSupported: the back end measures nothing.
        """
        return await self._company.metering.metrics(await self.find(owner, sandbox_id), start, end)

    async def events(
        self, owner: str, *, sandbox_id: str | None, types: Sequence[str], offset: int, limit: int, oldest_first: bool
    ) -> Sequence[SandboxEvent]:
        """Return what happened to the owner's sandboxes, or to one of them, ended or not."""
        only = None if sandbox_id is None else plain_id(sandbox_id)
        return await self._company.events.list(owner, sandbox_id=only, types=types, offset=offset, limit=limit, oldest_first=oldest_first)

    async def quota(self, owner: str) -> Quota:
        """Return how many sandboxes there are and may be."""
        rows = await self._rows.list(owner=owner, states=_VISIBLE, limit=100_000)
        running = sum(row.state is SandboxState.RUNNING for row in rows)
        return Quota(places=self._admission.places, used=self._admission.used, running=running, paused=len(rows) - running)

    async def find(self, owner: str, sandbox_id: str, *, states: Sequence[SandboxState] = _VISIBLE) -> Sandbox:
        """Return the row of a running or paused sandbox; a legacy client's `-{clientID}` after the id is taken off.

        Raises:
            ApiError: `sandbox_not_found`.
        """
        id_ = plain_id(sandbox_id)
        row = await self._rows.get(id_)
        if row is None or row.owner != owner:
            raise ApiError(SANDBOX_NOT_FOUND, f"There is no sandbox {id_!r}")
        if row.state not in states:
            raise await self._gone(id_)
        return row

    async def describe(self, row: Sandbox) -> SandboxView:
        """Return a row's view."""
        template = await self._context.store.templates.get_template(row.template_id)
        build = await self._context.store.builds.get(row.build_id)
        return self._view(row, template.name if template else "", build)

    async def _create(self, owner: str, wanted: NewSandbox) -> SandboxView:
        row, template, build = await self._creation.from_template(owner, wanted)
        return self._view(row, template.name, build)

    async def _template_ids(self, owner: str, reference: str) -> Sequence[str]:
        try:
            return [(await self._templates.find(owner, references.read(reference))).id]
        except ApiError:
            return []

    async def _done(self, row: Sandbox, verb: Awaitable[Sandbox | None]) -> Sandbox | None:
        try:
            return await verb
        except SandboxGone:
            raise await self._gone(row.id) from None
        except BackendError as error:
            raise said(error, row.id) from None

    async def _changed(self, row: Sandbox, ways: Ways | None) -> Sandbox:
        if ways is None:
            return row
        public = row.public if ways.public is None else ways.public
        changed = await self._lifecycle.set_network(row.id, ways.network or row.network, public=public)
        if changed is None:
            raise await self._gone(row.id)
        return changed

    async def _gone(self, sandbox_id: str) -> ApiError:
        row = await self._rows.get(sandbox_id)
        if row is None or row.state is SandboxState.STARTING:
            return ApiError(SANDBOX_NOT_FOUND, f"The sandbox {sandbox_id!r} is not there yet")
        details: dict[str, Any] = {"state": row.state.value, "reason": row.reason, "exit_code": row.exit_code, "output": row.output}
        return ApiError(SANDBOX_NOT_FOUND, f"The sandbox {sandbox_id!r} has ended: {row.reason}", details=details)

    def _view(self, row: Sandbox, alias: str, build: Build | None) -> SandboxView:
        tokens, limits = self._context.tokens, self._context.settings.limits
        if build is not None:
            limits = limits_of(self._context.settings, build, memory_mb=row.memory_mb, cpu_count=row.cpu_count)
        return SandboxView(
            sandbox=row,
            alias=alias,
            limits=limits,
            access_token=tokens.access_token(row.id),
            traffic_token=None if row.public else tokens.traffic_token(row.id),
            domain=self._context.addresses.domain,
        )


def plain_id(sandbox_id: str) -> str:
    """Return the id without what a legacy client appends."""
    return sandbox_id.partition("-")[0]
