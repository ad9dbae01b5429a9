"""Templates and builds as wire messages: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from sandkit.wire.manifest import AgentConfig, AgentStatus, DeploymentPhase
from sandkit.wire.sandboxes import ENVD_VERSION
from sandkit.wire.templates import (
    BuildLogEntry,
    BuildReason,
    BuildStatus,
    BuildStatusWord,
    Deployment,
    Phase,
    TagInfo,
    TemplateInfo,
)
from sandyard.domain.specs import MEBIBYTE
from sandyard.domain.templates import DEFAULT_TAG, STEPS_TAG, BuildKind, BuildState
from sandyard.services.specs import limits_of
from sandyard.web.render import when

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.config import Settings
    from sandyard.domain.templates import Build, LogLine, Tag, Template
    from sandyard.services.templates import TemplateView

_WORDS: dict[BuildState, BuildStatusWord] = {
    BuildState.PENDING: "waiting",
    BuildState.BUILDING: "building",
    BuildState.DEPLOYED: "ready",
    BuildState.FAILED: "error",
}


def deployment(template: Template, build: Build) -> Deployment:
    return Deployment(templateID=template.id, buildID=build.id, name=template.name, tags=list(build.tags))


def template_info(view: TemplateView, settings: Settings) -> TemplateInfo:
    template, build = view.template, view.build
    manifest = _manifest(build) if build is not None and build.kind is BuildKind.AGENT else None
    limits = settings.limits if build is None else limits_of(settings, build)
    return TemplateInfo(
        templateID=template.id,
        buildID=build.id if build else None,
        name=template.name,
        aliases=[template.name],
        names=[template.name, *(f"{template.name}:{tag}" for tag in view.tags if tag not in (DEFAULT_TAG, STEPS_TAG))],
        tags=manifest.metadata.tags if manifest else [],
        build_tags=list(view.tags),
        public=template.public,
        build_status=_WORDS[build.state] if build else "waiting",
        phase=_phase(build),
        cpu_count=max(1, round(limits.cpus)),
        memoryMB=limits.memory_bytes // MEBIBYTE,
        diskSizeMB=limits.disk_bytes // MEBIBYTE,
        envd_version=ENVD_VERSION,
        created_at=when(template.created_at),
        updated_at=when((build and (build.finished_at or build.created_at)) or template.updated_at),
        size=build.size_bytes if build else None,
        build_time=build.finished_at - build.created_at if build and build.finished_at else None,
        dependencies=list(build.dependencies) if build else [],
        build_count=view.build_count,
        metadata={"agent": manifest.as_dict()} if manifest else {},
    )


def tag_info(tag: Tag) -> TagInfo:
    return TagInfo(tag=tag.tag, buildID=tag.build_id, created_at=when(tag.created_at))


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
    output = "\n".join(line.message for line in last)
    return BuildReason(message=build.reason, output=output, step=build.failed_step or None, log_entries=[log_entry(line) for line in last])


def _manifest(build: Build) -> AgentConfig:
    """Return the manifest with its `status` filled in by the platform."""
    status = AgentStatus(
        phase=DeploymentPhase(build.state.value),
        template_id=build.template_id,
        build_id=build.id,
        last_deployed=when(build.finished_at).isoformat() if build.finished_at else None,
    )
    return AgentConfig.model_validate(build.manifest).model_copy(update={"status": status})
