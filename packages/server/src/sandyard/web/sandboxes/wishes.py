"""What a body of the wire means to the services; what cannot be had is refused with the reason. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandkit.wire.errors import INVALID_REQUEST, NOT_IMPLEMENTED, ApiError
from sandkit.wire.sandboxes import NetworkOptions
from sandyard.domain.sandboxes import Network
from sandyard.domain.specs import GUEST_PORT
from sandyard.services.creation import NewSandbox
from sandyard.services.sandboxes import Ways

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandkit.wire.sandboxes import CreateSandbox, EgressOptions

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST_MASK = re.compile(r"[A-Za-z0-9.:_\[\]${}-]+")

ABSENT = {
    "mcp": "there is no MCP gateway inside sandboxes; start one as a command of your own, on any port",
    "iam": "this platform issues no workload identity tokens to sandboxes of E2B's clients",
    "network.rules": "HTTPS leaves a sandbox end to end encrypted: the platform does not open it, so it cannot put headers in",
    "network.egressProxy": "sandboxes leave by the platform's own proxy, which goes through no other one",
    "network.dnsServers": "sandboxes ask no name servers: the platform's proxy looks names up, and checks what they lead to",
    "other volume quotas": "what a volume with a quota may hold is reserved when it is made",
    "hotplug": "the memory limit of a sandbox is set when it starts: the host cannot add memory to a running one",
}
"""What answers 501, and why; docs/sandboxes.md shows this table."""


def refuse(feature: str) -> ApiError:
    """Return the error for something that this platform does not have."""
    return ApiError(NOT_IMPLEMENTED, f"{feature} is not available: {ABSENT[feature]}", details={"feature": feature})


def new_sandbox(body: CreateSandbox, seconds: int, idempotency_key: str | None, check: Callable[[str], object]) -> NewSandbox:
    """Return what is wished.

    Raises:
        ApiError: `invalid_request`, `not_implemented`.
    """
    for feature, value in (("mcp", body.mcp), ("iam", (body.iam or {}).get("tokens"))):
        if value:
            raise refuse(feature)
    env, secrets = body.env_vars or {}, body.secrets or {}
    for field, given in (("envVars", env), ("secrets", secrets)):
        for name, value in given.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                raise _bad(field, f"{name[:100]!r} cannot be a variable")
    resume = bool(body.auto_resume and body.auto_resume.enabled)
    if resume and not body.auto_pause_memory:
        raise _bad("autoResume", "a sandbox that is paused without memory is resumed by its owner alone, not by traffic")
    public = body.network.allow_public_traffic if body.network else None
    return NewSandbox(
        template=body.template_id,
        timeout=body.timeout or seconds,
        on_timeout="pause" if body.auto_pause else "kill",
        keep_memory=body.auto_pause_memory,
        auto_resume=resume,
        public=public,
        metadata=body.metadata or {},
        env=env,
        secrets=secrets,
        volumes=[(mount.name, mount.path) for mount in body.volume_mounts or []],
        network=network(body.network or NetworkOptions(), check, internet=body.allow_internet_access),
        memory_mb=body.memory_mb,
        cpu_count=body.cpu_count,
        idempotency_key=idempotency_key,
    )


def network(options: EgressOptions, check: Callable[[str], object], *, internet: bool | None = None) -> Network:
    """Return the rules of a body; `check` raises ValueError for what is no entry.

    Raises:
        ApiError: `invalid_request`, `not_implemented`.
    """
    for feature, value in (("rules", options.rules), ("egressProxy", options.egress_proxy), ("dnsServers", options.dns_servers)):
        if value:
            raise refuse(f"network.{feature}")
    _check_entries("network.allowOut", options.allow_out, check)
    _check_entries("network.denyOut", options.deny_out, check)
    allowed = Network(
        internet=options.allow_internet_access if internet is None else internet,
        allow_out=tuple(options.allow_out),
        deny_out=tuple(options.deny_out),
    )
    return _reached(options, allowed) if isinstance(options, NetworkOptions) else allowed


def ways(options: NetworkOptions | None, public: bool | None, check: Callable[[str], object]) -> Ways | None:
    """Return what a body of connect or reset changes; None for nothing. Raises as `network`."""
    if options is None:
        return None if public is None else Ways(public=public)
    return Ways(network=network(options, check), public=options.allow_public_traffic if public is None else public)


def _reached(options: NetworkOptions, rules: Network) -> Network:
    mask = options.mask_request_host or ""
    if mask and not _HOST_MASK.fullmatch(mask):
        raise _bad("network.maskRequestHost", f"{mask!r} cannot be a Host header")
    if GUEST_PORT in options.https_ports:
        raise _bad("network.httpsPorts", f"port {GUEST_PORT} is the platform's own and speaks plain HTTP")
    return Network(
        internet=rules.internet,
        allow_out=rules.allow_out,
        deny_out=rules.deny_out,
        mask_request_host=mask,
        https_ports=tuple(options.https_ports),
    )


def _check_entries(field: str, entries: Sequence[str], check: Callable[[str], object]) -> None:
    for entry in entries:
        try:
            check(entry)
        except ValueError as error:
            raise _bad(field, str(error)) from None


def _bad(field: str, sentence: str) -> ApiError:
    return ApiError(INVALID_REQUEST, f"{field}: {sentence}", details={"field": field})
