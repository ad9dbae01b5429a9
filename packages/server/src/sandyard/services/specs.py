"""What is asked of the back end for a session: pure composition of a `SandboxSpec` from a build and what the caller wished."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sandkit.wire.manifest import AgentConfig
from sandyard.domain.specs import AGENT_PORT, PROXY_PORT, EgressPolicy, Limits, Mount, SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandyard.config import Settings
    from sandyard.domain.templates import Build

VENV = "/opt/venv"
APP = "/app"
READY_TIMEOUT = 60.0
"""Seconds to the first listen where the manifest's `spec.runtime.timeout` says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a create may add to the build: variables, no internet, names it may not reach."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    internet: bool = True
    deny: tuple[str, ...] = ()


def build_dir(settings: Settings, build_id: str) -> Path:
    """Return the directory of a build: `app/` (the package), `venv/` (what was installed)."""
    return settings.data_dir / "builds" / build_id


def limits_of(settings: Settings, build: Build) -> Limits:
    """Return the manifest's limits, cut to the operator's."""
    runtime = AgentConfig.model_validate(build.manifest).spec.runtime
    bounds = settings.limits
    return replace(
        bounds,
        memory_bytes=min(bounds.memory_bytes, (runtime and runtime.memory_bytes) or bounds.memory_bytes),
        cpus=min(bounds.cpus, (runtime and runtime.cpus) or bounds.cpus),
    )


def session_spec(settings: Settings, build: Build, sandbox_id: str, *, ends_at: float, wishes: Wishes | None = None) -> SandboxSpec:
    """Return the spec of a session of `build`."""
    wishes = wishes or Wishes()
    spec = AgentConfig.model_validate(build.manifest).spec
    home = build_dir(settings, build.id)
    return SandboxSpec(
        sandbox_id=sandbox_id,
        command=(f"{VENV}/bin/python", spec.entrypoint),
        cwd=APP,
        env=environment(settings, sandbox_id, wishes.env),
        mounts=(Mount(home / "venv", VENV, "ro"), Mount(home / "app", APP, "overlay")),
        limits=limits_of(settings, build),
        egress=_egress(settings.egress, wishes),
        ready_timeout=float((spec.runtime and spec.runtime.timeout) or READY_TIMEOUT),
        ends_at=ends_at,
    )


def environment(settings: Settings, sandbox_id: str, wished: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a sandbox's command; `wished` may change the comforts, not what the platform says."""
    proxy = f"http://127.0.0.1:{PROXY_PORT}"
    direct = "localhost,127.0.0.1,::1"
    comforts = {"PATH": f"{VENV}/bin:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    if settings.ca_bundle is not None:
        comforts["SSL_CERT_FILE"] = str(settings.ca_bundle)
    facts = {
        "HOME": "/home/user",
        "USER": "user",
        "LOGNAME": "user",
        "PPIO_AGENT_HOST": "127.0.0.1",
        "PPIO_AGENT_PORT": str(AGENT_PORT),
        "PORT": str(AGENT_PORT),
        "DOCKER_CONTAINER": "1",
        "E2B_SANDBOX": "true",
        "E2B_SANDBOX_ID": sandbox_id,
        "PPIO_SANDBOX_ID": sandbox_id,
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": direct,
        "no_proxy": direct,
    }
    return comforts | dict(wished) | facts


def _egress(policy: EgressPolicy, wishes: Wishes) -> EgressPolicy:
    """A caller can only narrow what the operator allows."""
    if not wishes.internet:
        return EgressPolicy(public=False)
    return replace(policy, deny=policy.deny + wishes.deny)
