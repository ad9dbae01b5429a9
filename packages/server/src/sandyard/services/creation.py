"""How sandboxes come about: from a template, or with the files of another one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sandkit.wire.errors import AGENT_FAILED, CONFLICT, NOT_IMPLEMENTED, UNAVAILABLE, ApiError
from sandyard.domain.errors import BackendError, BackendUnavailable, NotSupported, RowConflict, SandboxGone, StartFailed
from sandyard.domain.sandboxes import Network, OnTimeout, Sandbox, SandboxState
from sandyard.services.ids import new_id
from sandyard.services.specs import agent_name, is_agent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.domain.templates import Build, Template
    from sandyard.services.company import Company
    from sandyard.services.context import Context
    from sandyard.services.lifecycle import Lifecycle
    from sandyard.services.templates import Templates

DEFAULT_SECONDS = 300
SHORT_SECONDS = 15
"""What E2B's first version of a path gives where the caller says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSandbox:
    """What a caller asks for. `timeout` in seconds; `public` None: as its template's kind is (agents are not, all others are)."""

    template: str
    timeout: float = DEFAULT_SECONDS
    on_timeout: OnTimeout = "kill"
    keep_memory: bool = True
    auto_resume: bool = False
    public: bool | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables and the names of the secrets that they are to hold."""
    volumes: Sequence[tuple[str, str]] = ()
    """Names (or ids) of volumes and where they are mounted."""
    network: Network = field(default_factory=Network)
    memory_mb: int | None = None
    cpu_count: float | None = None
    idempotency_key: str | None = None


class Creation:
    """Makes rows of wishes and lets the lifecycle start them."""

    def __init__(self, context: Context, templates: Templates, lifecycle: Lifecycle, company: Company) -> None:
        self._context = context
        self._templates = templates
        self._lifecycle = lifecycle
        self._blueprints = company.blueprints
        self._company = company

    async def from_template(self, owner: str, wanted: NewSandbox) -> tuple[Sandbox, Template, Build]:
        """Start a sandbox and return it running.

        Raises:
            ApiError: `template_not_found`, `template_not_ready`, `rate_limited`, `agent_failed`, `unavailable`, `conflict`.
        """
        template, build = await self._templates.resolve(owner, wanted.template)
        id_ = new_id("sandbox")
        env = await self._company.secrets.filled(owner, wanted.env, wanted.secrets)
        new = Sandbox(
            id=id_,
            owner=owner,
            template_id=template.id,
            build_id=build.id,
            state=SandboxState.STARTING,
            created_at=self._context.clock.now(),
            ends_at=0,
            on_timeout=wanted.on_timeout,
            public=not is_agent(build) if wanted.public is None else wanted.public,
            metadata=wanted.metadata,
            idempotency_key=wanted.idempotency_key,
            timeout=wanted.timeout,
            auto_resume=wanted.auto_resume,
            keep_memory=wanted.keep_memory,
            network=wanted.network,
            sealed_env=await self._company.variables.sealed(id_, env),
            volumes=await self._company.volumes.mounts(owner, wanted.volumes),
            memory_mb=wanted.memory_mb,
            cpu_count=wanted.cpu_count,
        )
        return await self._launch(new, agent_name(template, build), build), template, build

    async def from_state(self, source: Sandbox, state_id: str, seconds: float) -> Sandbox:
        """Start a sandbox that is as `source` but for its files, which are those of a saved state (nothing: its template's).

        Raises:
            ApiError: as `from_template`.
        """
        template = await self._context.store.templates.get_template(source.template_id)
        build = await self._blueprints.build_of(source)
        id_ = new_id("sandbox")
        new = replace(
            source,
            id=id_,
            sealed_env=await self._company.variables.sealed(id_, await self._company.variables.of(source)),
            state=SandboxState.STARTING,
            reason="",
            created_at=self._context.clock.now(),
            isolation=None,
            idempotency_key=None,
            timeout=seconds,
            restore=state_id,
            origin=state_id,
            saved=False,
        )
        return await self._launch(new, agent_name(template, build), build)

    async def _launch(self, new: Sandbox, agent: str, build: Build) -> Sandbox:
        blueprint = await self._blueprints.compose(new, build)
        ends_at = new.created_at + blueprint.spec.ready_timeout + new.timeout
        dated = replace(blueprint, spec=replace(blueprint.spec, ends_at=ends_at))
        try:
            return await self._lifecycle.launch(replace(new, ends_at=ends_at), agent=agent, blueprint=dated)
        except RowConflict as error:
            if not new.volumes:
                raise
            raise ApiError(CONFLICT, f"The sandbox cannot be made: {error}") from None
        except BackendError as error:
            raise said(error, new.id, "agent" if is_agent(build) else "sandbox") from None


def said(error: BackendError, sandbox_id: str, what: str = "sandbox") -> ApiError:
    """Return what a caller is told of a start that failed."""
    match error:
        case StartFailed():
            details = {"exit_code": error.exited.exit_code, "output": error.exited.output, "sandbox_id": sandbox_id}
            return ApiError(AGENT_FAILED, f"The {what} did not start: {error.exited.reason}", details=details)
        case BackendUnavailable():
            return ApiError(UNAVAILABLE, f"No sandbox can be started now: {error}", details={"retry_after": 5})
        case NotSupported():
            return ApiError(NOT_IMPLEMENTED, str(error))
        case SandboxGone():
            return ApiError(CONFLICT, str(error))
        case _:
            raise error
