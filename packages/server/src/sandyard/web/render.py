"""Domain records as wire messages: pure, and the only place where the two meet."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from sandkit.wire.sandboxes import Sandbox, SandboxDetail, SandboxLog, SandboxLogs
from sandyard.domain.specs import MEBIBYTE

if TYPE_CHECKING:
    from sandyard.services.sandboxes import SandboxView

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
