"""Domain records as wire messages: pure, and the only place where the two meet."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from sandkit.wire.manifest import AgentConfig, AgentStatus, DeploymentPhase
from sandkit.wire.sandboxes import ENVD_VERSION, Sandbox, SandboxDetail, SandboxLog, SandboxLogs
from sandkit.wire.templates import BuildLogEntry, BuildReason, BuildStatus, BuildStatusWord, Deployment, Phase, TemplateInfo
from sandyard.domain.specs import MEBIBYTE
from sandyard.domain.templates import DEFAULT_TAG, BuildState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.config import Settings
    from sandyard.domain.templates import Build, LogLine, Template
    from sandyard.services.sandboxes import SandboxView
    from sandyard.services.templates import TemplateView

_WORDS: dict[BuildState, BuildStatusWord] = {
    BuildState.PENDING: "waiting",
    BuildState.BUILDING: "building",
    BuildState.DEPLOYED: "ready",
    BuildState.FAILED: "error",
}
_CLIENT = "sandyard"


def when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def sandbox(view: SandboxView) -> Sandbox:
    row = view.sandbox
    return Sandbox(
        sandboxID=row.id,
        templateID=row.template_id,
        clientID=_CLIENT,
        alias=view.alias,
        envd_access_token=view.access_token,
        traffic_access_token=None if row.public else view.access_token,
    )


def sandbox_detail(view: SandboxView, *, token: bool) -> SandboxDetail:
    """Return the description; a list's rows come without the token."""
    row = view.sandbox
    return SandboxDetail(
        sandboxID=row.id,
        templateID=row.template_id,
        clientID=_CLIENT,
        alias=view.alias,
        buildID=row.build_id,
        started_at=when(row.created_at),
        end_at=when(row.ends_at),
        state=cast("Literal['running', 'paused']", row.state.value),
        cpu_count=max(1, round(view.limits.cpus)),
        memoryMB=view.limits.memory_bytes // MEBIBYTE,
        diskSizeMB=view.limits.disk_bytes // MEBIBYTE,
        metadata=dict(row.metadata),
        envd_access_token=view.access_token if token else None,
        lifecycle={"onTimeout": row.on_timeout, "autoResume": False},
        isolation=None if row.isolation is None else asdict(row.isolation),
    )


def sandbox_logs(text: str, started_at: float) -> SandboxLogs:
    """Return the agent's output as lines.

    The platform does not know when each was printed. The protocol demands a time: all bear the sandbox's start, before which none was.
    """
    at = when(started_at)
    lines = text.splitlines()
    entries: list[dict[str, Any]] = [{"timestamp": at.isoformat(), "message": line, "level": "info", "fields": {}} for line in lines]
    return SandboxLogs(logs=[SandboxLog(timestamp=at, line=line) for line in lines], log_entries=entries)


def deployment(template: Template, build: Build) -> Deployment:
    return Deployment(templateID=template.id, buildID=build.id, name=template.name, tags=list(build.tags))


def template_info(view: TemplateView, settings: Settings) -> TemplateInfo:
    template, build = view.template, view.build
    manifest = None if build is None else _manifest(build)
    runtime = manifest.spec.runtime if manifest else None
    names = [template.name, *(f"{template.name}:{tag}" for tag in view.tags if tag != DEFAULT_TAG)]
    return TemplateInfo(
        templateID=template.id,
        buildID=build.id if build else None,
        name=template.name,
        aliases=[template.name],
        names=names,
        tags=manifest.metadata.tags if manifest else [],
        build_tags=list(view.tags),
        build_status=_WORDS[build.state] if build else "waiting",
        phase=_phase(build),
        cpu_count=max(1, round((runtime and runtime.cpus) or settings.limits.cpus)),
        memoryMB=((runtime and runtime.memory_bytes) or settings.limits.memory_bytes) // MEBIBYTE,
        diskSizeMB=settings.limits.disk_bytes // MEBIBYTE,
        envd_version=ENVD_VERSION,
        created_at=when(template.created_at),
        updated_at=when((build and (build.finished_at or build.created_at)) or template.updated_at),
        size=build.size_bytes if build else None,
        build_time=build.finished_at - build.created_at if build and build.finished_at else None,
        dependencies=list(build.dependencies) if build else [],
        metadata={"agent": manifest.as_dict()} if manifest else {},
    )


def build_status(build: Build, lines: Sequence[LogLine], last: Sequence[LogLine] = ()) -> BuildStatus:
    """Return the status with a page of its log; `last` are the lines that explain a failure."""
    entries = [log_entry(line) for line in lines]
    return BuildStatus(
        templateID=build.template_id,
        buildID=build.id,
        status=_WORDS[build.state],
        phase=_phase(build),
        logs=[entry.message for entry in entries],
        log_entries=entries,
        reason=_reason(build, last) if build.state is BuildState.FAILED else None,
    )


def log_entry(line: LogLine) -> BuildLogEntry:
    level = cast("Literal['debug', 'info', 'warn', 'error']", line.level)
    return BuildLogEntry(number=line.number, timestamp=when(line.timestamp), message=line.message, level=level)


def _phase(build: Build | None) -> Phase:
    return build.state.value if build else "pending"


def _reason(build: Build, last: Sequence[LogLine]) -> BuildReason:
    return BuildReason(message=build.reason, output="\n".join(line.message for line in last))


def _manifest(build: Build) -> AgentConfig:
    """Return the manifest with its `status` filled in by the platform."""
    status = AgentStatus(
        phase=DeploymentPhase(build.state.value),
        template_id=build.template_id,
        build_id=build.id,
        last_deployed=when(build.finished_at).isoformat() if build.finished_at else None,
    )
    return AgentConfig.model_validate(build.manifest).model_copy(update={"status": status})
