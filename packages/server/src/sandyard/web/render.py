"""Domain records as wire messages: pure, and the only place where the two meet."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from sandkit.wire.sandboxes import (
    Committed,
    ListedSandbox,
    Sandbox,
    SandboxDetail,
    SandboxEvent,
    SandboxLog,
    SandboxLogEntry,
    SandboxLogs,
    SandboxMetric,
    SandboxQuota,
    Snapshot,
)
from sandkit.wire.volumes import MountedVolume
from sandyard.domain.sandboxes import SandboxState
from sandyard.domain.specs import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.domain import sandboxes as domain
    from sandyard.domain.specs import Limits
    from sandyard.services.metering import Metric
    from sandyard.services.outputs import Line
    from sandyard.services.sandboxes import Quota, SandboxView
    from sandyard.services.snapshots import SnapshotView

_NO_MEMORY = "The snapshot holds the sandbox's files; its processes and their memory are not in it. What begins with it starts anew."
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
        traffic_access_token=view.traffic_token,
        domain=view.domain,
    )


def listed_sandbox(view: SandboxView) -> ListedSandbox:
    return ListedSandbox(**_described(view))


def sandbox_detail(view: SandboxView) -> SandboxDetail:
    row = view.sandbox
    return SandboxDetail(
        **_described(view),
        envd_access_token=view.access_token,
        domain=view.domain,
        allow_internet_access=row.network.internet,
        network=_network(row),
        lifecycle={"onTimeout": row.on_timeout, "autoResume": row.auto_resume},
        pause_mode=("filesystem" if row.saved else "full") if row.state is SandboxState.PAUSED else None,
    )


def _described(view: SandboxView) -> dict[str, Any]:
    row = view.sandbox
    return {
        "sandboxID": row.id,
        "templateID": row.template_id,
        "clientID": _CLIENT,
        "alias": view.alias,
        "buildID": row.build_id,
        "started_at": when(row.created_at),
        "end_at": when(row.ends_at),
        "state": cast("Literal['running', 'paused']", row.state.value),
        "cpu_count": max(1, round(view.limits.cpus)),
        "memoryMB": view.limits.memory_bytes // MEBIBYTE,
        "diskSizeMB": view.limits.disk_bytes // MEBIBYTE,
        "metadata": dict(row.metadata),
        "volume_mounts": [MountedVolume(name=mount.name, path=mount.path) for mount in row.volumes],
        "isolation": None if row.isolation is None else asdict(row.isolation),
    }


def _network(row: domain.Sandbox) -> dict[str, Any]:
    network = row.network
    found: dict[str, Any] = {
        "allowOut": list(network.allow_out),
        "denyOut": list(network.deny_out),
        "allowPublicTraffic": row.public,
        "httpsPorts": list(network.https_ports),
    }
    return found | ({"maskRequestHost": network.mask_request_host} if network.mask_request_host else {})


def sandbox_logs(lines: Sequence[Line]) -> SandboxLogs:
    return SandboxLogs(logs=[SandboxLog(timestamp=when(line.at), line=line.text) for line in lines], log_entries=log_entries(lines))


def log_entries(lines: Sequence[Line]) -> list[SandboxLogEntry]:
    return [SandboxLogEntry(timestamp=when(line.at), message=line.text) for line in lines]


def metric(sample: Metric) -> SandboxMetric:
    return SandboxMetric(
        timestamp=when(sample.at),
        timestamp_unix=int(sample.at),
        cpu_count=max(1, round(sample.cpu_count)),
        cpu_used_pct=sample.cpu_percent,
        mem_used=sample.memory_bytes,
        mem_total=sample.memory_limit_bytes,
        mem_cache=sample.memory_cache_bytes,
        disk_used=sample.disk_bytes,
        disk_total=sample.disk_limit_bytes,
    )


def event(happened: domain.SandboxEvent) -> SandboxEvent:
    return SandboxEvent(
        id=happened.id,
        type=happened.type,
        timestamp=when(happened.at),
        sandbox_id=happened.sandbox_id,
        sandbox_template_id=happened.template_id,
        sandbox_build_id=happened.build_id,
        event_data=dict(happened.data) or None,
    )


def quota(found: Quota, limits: Limits) -> SandboxQuota:
    return SandboxQuota(
        max_sandboxes=found.places,
        used=found.used,
        available=max(0, found.places - found.used),
        running=found.running,
        paused=found.paused,
        max_cpu_count=max(1, round(limits.cpus)),
        maxMemoryMB=limits.memory_bytes // MEBIBYTE,
        maxDiskSizeMB=limits.disk_bytes // MEBIBYTE,
    )


def snapshot(view: SnapshotView, *, memory_wished: bool) -> Snapshot:
    """Return the description; where memory was wished and is not there, with the sentence that says so."""
    memory = bool(view.saved and view.saved.memory)
    return Snapshot(snapshotID=view.names[0], names=view.names, memory=memory, message=_NO_MEMORY if memory_wished and not memory else None)


def committed(view: SnapshotView) -> Committed:
    name = view.template.name
    return Committed(
        templateID=view.template.id,
        buildID=view.build.id,
        names=view.names,
        aliases=[name],
        tags=list(view.tags),
        public=view.template.public,
    )
