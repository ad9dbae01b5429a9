"""Sandboxes for callers: who may do what with which, and what to say when it cannot be done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandkit.wire.errors import (
    AGENT_FAILED,
    CONFLICT,
    SANDBOX_NOT_FOUND,
    UNAVAILABLE,
    ApiError,
)
from sandyard.domain.errors import BackendUnavailable, SandboxGone, StartFailed
from sandyard.domain.sandboxes import OnTimeout, Sandbox, SandboxState
from sandyard.services.ids import new_id
from sandyard.services.lifecycle import LIVING, Lifecycle
from sandyard.services.locks import Locks
from sandyard.services.specs import Wishes, limits_of, session_spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.domain.specs import Limits
    from sandyard.domain.templates import Build, Template
    from sandyard.services.context import Context
    from sandyard.services.templates import Templates

DEFAULT_SECONDS = 300
_VISIBLE = (SandboxState.RUNNING, SandboxState.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSandbox:
    """What a caller asks for. `timeout` in seconds."""

    template: str
    timeout: float = DEFAULT_SECONDS
    on_timeout: OnTimeout = "kill"
    public: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    wishes: Wishes = field(default_factory=Wishes)
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxView:
    """A sandbox with what its description needs beside the row."""

    sandbox: Sandbox
    alias: str
    limits: Limits
    access_token: str


class Sandboxes:
    """The verbs on sandboxes; each is for one owner, and other owners' sandboxes do not exist."""

    def __init__(self, context: Context, templates: Templates, lifecycle: Lifecycle) -> None:
        self._context = context
        self._rows = context.store.sandboxes
        self._clock = context.clock
        self._templates = templates
        self._lifecycle = lifecycle
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
                return await self._view(row)
            if row is not None:
                await self._rows.change(row.id, [SandboxState.STOPPED, SandboxState.FAILED], idempotency_key=None)
            return await self._create(owner, wanted)

    async def get(self, owner: str, sandbox_id: str) -> SandboxView:
        """Return a running or paused sandbox.

        Raises:
            ApiError: `sandbox_not_found`; how it ended is in the details while it is remembered.
        """
        return await self._view(await self._living(owner, sandbox_id))

    async def list(
        self, owner: str, *, states: Sequence[SandboxState], metadata: Mapping[str, str], limit: int, after: str | None
    ) -> tuple[Sequence[SandboxView], str | None]:
        """Return a page, newest first, and where the next one starts."""
        found: list[Sandbox] = []
        cursor = after
        while len(found) <= limit:
            page = await self._rows.list(owner=owner, states=states or _VISIBLE, limit=limit + 1, after=cursor)
            found += [row for row in page if metadata.items() <= dict(row.metadata).items()]
            if len(page) <= limit:
                break
            cursor = page[-1].id
        shown = found[:limit]
        return [await self._view(row) for row in shown], shown[-1].id if len(found) > limit else None

    async def kill(self, owner: str, sandbox_id: str) -> None:
        """End a sandbox; return when nothing of it is left."""
        row = await self._living(owner, sandbox_id, states=LIVING)
        if not await self._lifecycle.end(row.id, SandboxState.STOPPED, "It was closed"):
            raise await self._gone(row.id)

    async def pause(self, owner: str, sandbox_id: str) -> None:
        """Freeze a running sandbox.

        Raises:
            ApiError: `conflict` if it is paused already.
        """
        row = await self._living(owner, sandbox_id)
        try:
            paused = await self._lifecycle.pause(row.id)
        except SandboxGone:
            raise await self._gone(row.id) from None
        if paused is None:
            row = await self._living(owner, sandbox_id)
            raise ApiError(CONFLICT, f"The sandbox {row.id} is {row.state.value} already")

    async def connect(self, owner: str, sandbox_id: str, seconds: float | None) -> tuple[SandboxView, bool]:
        """Let a paused sandbox run on (True), or extend a running one's time (False); return it."""
        row = await self._living(owner, sandbox_id)
        try:
            resumed = await self._lifecycle.resume(row.id, seconds or DEFAULT_SECONDS)
        except SandboxGone:
            raise await self._gone(row.id) from None
        if resumed is not None:
            return await self._view(resumed), True
        if seconds is not None:
            row = await self._lifecycle.set_end(row.id, seconds, only_later=True) or row
        return await self.get(owner, row.id), False

    async def set_timeout(self, owner: str, sandbox_id: str, seconds: float, *, only_later: bool = False) -> None:
        """Let a running sandbox end `seconds` from now (`only_later`: never sooner than it would)."""
        row = await self._living(owner, sandbox_id)
        if await self._lifecycle.set_end(row.id, seconds, only_later=only_later) is None:
            row = await self._living(owner, sandbox_id)
            raise ApiError(CONFLICT, f"The sandbox {row.id} is {row.state.value}; its time runs when it is resumed")

    async def output(self, owner: str, sandbox_id: str) -> tuple[str, float]:
        """Return what the agent printed last (up to 256 KiB), and when its sandbox was started (Unix seconds)."""
        row = await self._living(owner, sandbox_id)
        data, _ = await self._context.supervision.output(row.id)
        return data.decode(errors="replace"), row.created_at

    async def _create(self, owner: str, wanted: NewSandbox) -> SandboxView:
        template, build = await self._templates.resolve(owner, wanted.template)
        sandbox = self._new_row(owner, template, build, wanted)
        settings = self._context.settings
        spec = session_spec(settings, build, sandbox.id, ends_at=sandbox.ends_at, wishes=wanted.wishes)
        try:
            row = await self._lifecycle.launch(sandbox, agent=template.name, spec=spec, seconds=wanted.timeout)
        except StartFailed as failure:
            details = {"exit_code": failure.exited.exit_code, "output": failure.exited.output, "sandbox_id": sandbox.id}
            raise ApiError(AGENT_FAILED, f"The agent did not start: {failure.exited.reason}", details=details) from None
        except BackendUnavailable as failure:
            raise ApiError(UNAVAILABLE, f"No sandbox can be started now: {failure}", details={"retry_after": 5}) from None
        except SandboxGone as failure:
            raise ApiError(CONFLICT, str(failure)) from None
        return self._describe(row, template.name, limits_of(settings, build))

    def _new_row(self, owner: str, template: Template, build: Build, wanted: NewSandbox) -> Sandbox:
        now = self._clock.now()
        starting = session_spec(self._context.settings, build, "", ends_at=0).ready_timeout
        return Sandbox(
            id=new_id("sandbox"),
            owner=owner,
            template_id=template.id,
            build_id=build.id,
            state=SandboxState.STARTING,
            created_at=now,
            ends_at=now + starting + wanted.timeout,
            on_timeout=wanted.on_timeout,
            public=wanted.public,
            metadata=wanted.metadata,
            idempotency_key=wanted.idempotency_key,
        )

    async def _living(self, owner: str, sandbox_id: str, *, states: Sequence[SandboxState] = _VISIBLE) -> Sandbox:
        """Return the row; a legacy client's `-{clientID}` after the id is taken off."""
        id_ = sandbox_id.partition("-")[0]
        row = await self._rows.get(id_)
        if row is None or row.owner != owner:
            raise ApiError(SANDBOX_NOT_FOUND, f"There is no sandbox {id_!r}")
        if row.state not in states:
            raise await self._gone(id_)
        return row

    async def _gone(self, sandbox_id: str) -> ApiError:
        row = await self._rows.get(sandbox_id)
        if row is None or row.state is SandboxState.STARTING:
            return ApiError(SANDBOX_NOT_FOUND, f"The sandbox {sandbox_id!r} is not there yet")
        details: dict[str, Any] = {"state": row.state.value, "reason": row.reason, "exit_code": row.exit_code, "output": row.output}
        return ApiError(SANDBOX_NOT_FOUND, f"The sandbox {sandbox_id!r} has ended: {row.reason}", details=details)

    async def _view(self, row: Sandbox) -> SandboxView:
        template = await self._context.store.templates.get_template(row.template_id)
        build = await self._context.store.builds.get(row.build_id)
        limits = self._context.settings.limits if build is None else limits_of(self._context.settings, build)
        return self._describe(row, template.name if template else "", limits)

    def _describe(self, row: Sandbox, alias: str, limits: Limits) -> SandboxView:
        token = self._context.tokens.access_token(row.id)
        return SandboxView(sandbox=row, alias=alias, limits=limits, access_token=token)
