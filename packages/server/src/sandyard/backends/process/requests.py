"""From the domain's records to what travels to keeper and guest, and back. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, cast

from sandyard.domain.errors import NotSupported
from sandyard.domain.sandboxes import Isolation
from sandyard.domain.specs import EgressPolicy, Usage

from . import plan, records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandyard.domain.specs import Mount, SandboxSpec


def start(
    spec: SandboxSpec, isolation: Literal["full", "none"], directory: Path, ground: plan.Ground, *, limits_inside: bool = False
) -> tuple[dict[str, Any], bytes]:
    """Return the fields of the keeper's `start`, and the guest's configuration, which may hold secrets and goes past the keeper.

    `limits_inside`: the guest has to limit the number of processes.

    Raises:
        BackendUnavailable: what is to be restored is no state of such a sandbox.
        NotSupported: without isolation there is no system but the host's own.
    """
    if isolation == "none" and (spec.system == "writable" or spec.root is not None or spec.restore is not None):
        raise NotSupported("Without isolation sandboxes share the files of the host: none can have a system of its own.")
    if isolation == "none" and any(mount.disk for mount in spec.mounts):
        raise NotSupported("Without isolation sandboxes share the mounts of the host: none can have a volume with a quota.")
    planned, places = (plan.full(spec, ground), {}) if isolation == "full" else plan.bare(spec, directory)
    fields: dict[str, Any] = {
        "sandbox": spec.sandbox_id,
        "subject": subject(spec),
        "plan": planned.to_wire(),
        "limits": asdict(spec.limits),
        "policy": asdict(spec.egress),
        "ends_at": spec.ends_at,
    }
    config = {
        "command": [plan.relocated(word, places) for word in spec.command],
        "cwd": plan.relocated(spec.cwd, places),
        "env": {name: plan.relocated(value, places) for name, value in spec.env.items()},
        "ready_port": spec.ready_port if spec.command else None,
        **({"user": spec.user} if isolation == "full" else {}),
        **({"processes": spec.limits.processes} if limits_inside else {}),
    }
    return fields, json.dumps(config).encode()


def mount(sandbox_id: str, mount: Mount, *, away: bool = False, force: bool = False) -> dict[str, Any]:
    """Return the fields of the keeper's `mount`."""
    source = str(mount.source.absolute())
    return {"sandbox": sandbox_id, "source": source, "target": mount.target, "disk": mount.disk, "away": away, "force": force}


def subject(spec: SandboxSpec) -> str:
    """Return what a sandbox runs, for sentences; a guest without a command says by itself when it listens."""
    if not spec.command:
        return "guest"
    return records.COMMAND if spec.ready_port is None else "agent"


def told_when_ready(subject: str) -> bool:
    """Whether such a sandbox is started only when something listens in it."""
    return subject != records.COMMAND


def usage(fields: Mapping[str, Any]) -> Usage:
    return Usage(**fields)


def isolation(fields: Mapping[str, Any]) -> Isolation:
    return Isolation(backend="process", **_tuples(fields))


def policy(fields: Mapping[str, Any]) -> EgressPolicy:
    return EgressPolicy(**_tuples(fields))


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(cast("list[str]", value)) if isinstance(value, list) else value for name, value in fields.items()}
