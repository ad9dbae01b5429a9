"""What is asked of the back end for a sandbox: pure composition of a `SandboxSpec` from a build and what the caller wished."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sandkit.wire.manifest import AgentConfig
from sandyard.domain.sandboxes import Network
from sandyard.domain.specs import AGENT_PORT, MEBIBYTE, PROXY_PORT, EgressPolicy, Limits, Mount, SandboxSpec
from sandyard.domain.templates import BuildKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandyard.config import Settings
    from sandyard.domain.templates import Build, System, Template

VENV = "/opt/venv"
APP = "/app"
HOME = "/home/user"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EVERYTHING = "0.0.0.0/0"
"""Every destination, as E2B's clients write it in `network.denyOut`."""
_OWN_SYSTEM = {"PIP_BREAK_SYSTEM_PACKAGES": "1"}
"""A host's pip may refuse to install beside the distribution's packages (PEP 668); the sandbox's copy of that system is its own."""
READY_TIMEOUT = 60.0
"""Seconds to the first listen where the manifest's `spec.runtime.timeout` says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a sandbox has beyond its build: variables, its owner's network rules, volumes, and in place of the build's another saved
    state to begin with and other limits.
    """

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    network: Network = field(default_factory=Network)
    volumes: tuple[Mount, ...] = ()
    restore: Path | None = None
    memory_mb: int | None = None
    cpu_count: float | None = None


def build_dir(settings: Settings, build_id: str) -> Path:
    """Return the directory of a build: `app/` (the package), `venv/` (what was installed)."""
    return settings.data_dir / "builds" / build_id


def saved_dir(settings: Settings, build_id: str) -> Path:
    """Return where a build keeps its saved file system state (`System.saved`)."""
    return build_dir(settings, build_id) / "system"


def image_root(settings: Settings, digest: str) -> Path:
    """Return the directory of an image's files; `digest` is `sha256:<hex>`."""
    return settings.data_dir / "images" / digest.replace(":", "-") / "root"


def is_agent(build: Build) -> bool:
    """Whether a sandbox of the build runs an agent: the build is an agent's, or a snapshot of an agent's sandbox."""
    return bool(build.manifest)


def agent_name(template: Template | None, build: Build | None) -> str:
    """Return what the internal token calls the agent; empty for a sandbox that runs none, and so gets no such token."""
    return template.name if template is not None and build is not None and is_agent(build) else ""


def _package_build(build: Build) -> str:
    """Return the build whose package and environment an agent's build uses: a snapshot has none of its own."""
    return build.recipe.from_build if build.kind is BuildKind.SNAPSHOT and build.recipe is not None else build.id


def limits_of(settings: Settings, build: Build, *, memory_mb: int | None = None, cpu_count: float | None = None) -> Limits:
    """Return the limits that are wished for a sandbox, or else by its manifest or template, cut to the operator's."""
    bounds = settings.limits
    if is_agent(build):
        runtime = AgentConfig.model_validate(build.manifest).spec.runtime
        memory, cpus = (runtime and runtime.memory_bytes), (runtime and runtime.cpus)
    else:
        memory, cpus = (build.system.memory_mb or 0) * MEBIBYTE, build.system.cpu_count
    memory = (memory_mb or 0) * MEBIBYTE or memory or bounds.memory_bytes
    cpus = cpu_count or cpus or bounds.cpus
    return replace(bounds, memory_bytes=min(bounds.memory_bytes, memory), cpus=min(bounds.cpus, cpus))


def session_spec(settings: Settings, build: Build, sandbox_id: str, *, ends_at: float, wishes: Wishes | None = None) -> SandboxSpec:
    """Return the spec of a sandbox of `build`: an agent's session, or a system whose guest waits for commands."""
    wishes = wishes or Wishes()
    of_kind = _agent_spec if is_agent(build) else _system_spec
    spec = of_kind(settings, build, sandbox_id, ends_at, wishes)
    return replace(
        spec,
        mounts=(*spec.mounts, *wishes.volumes),
        limits=limits_of(settings, build, memory_mb=wishes.memory_mb, cpu_count=wishes.cpu_count),
        egress=egress_policy(settings.egress, wishes.network),
        restore=wishes.restore or (saved_dir(settings, build.id) if build.system.saved else None),
    )


def _agent_spec(settings: Settings, build: Build, sandbox_id: str, ends_at: float, wishes: Wishes) -> SandboxSpec:
    spec = AgentConfig.model_validate(build.manifest).spec
    home = build_dir(settings, _package_build(build))
    return SandboxSpec(
        sandbox_id=sandbox_id,
        command=(f"{VENV}/bin/python", spec.entrypoint),
        cwd=APP,
        env=environment(settings, sandbox_id, wishes.env),
        mounts=(Mount(home / "venv", VENV, "ro"), Mount(home / "app", APP, "overlay")),
        ready_timeout=float((spec.runtime and spec.runtime.timeout) or READY_TIMEOUT),
        ends_at=ends_at,
    )


def _system_spec(settings: Settings, build: Build, sandbox_id: str, ends_at: float, wishes: Wishes) -> SandboxSpec:
    system = build.system
    return SandboxSpec(
        sandbox_id=sandbox_id,
        command=(),
        system="writable",
        root=image_root(settings, system.image) if system.image else None,
        cwd=system.workdir or HOME,
        env=system_environment(settings, sandbox_id, system, wishes.env) | _defaults(system),
        ready_port=None,
        ends_at=ends_at,
    )


def _defaults(system: System) -> dict[str, str]:
    """Return by which the guest knows as whom and where commands run that do not say."""
    where = {"SANDYARD_WORKDIR": system.workdir} if system.workdir else {}
    return where if system.user == "user" else {**where, "SANDYARD_USER": system.user}


def system_environment(settings: Settings, sandbox_id: str, system: System, wished: Mapping[str, str]) -> dict[str, str]:
    """Return what the commands of a system sandbox find beside their user's own variables (HOME, USER), which the guest knows."""
    comforts = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"} if system.image else _comforts(settings, SYSTEM_PATH) | _OWN_SYSTEM
    return comforts | dict(system.env) | dict(wished) | _facts(sandbox_id)


def environment(settings: Settings, sandbox_id: str, wished: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a sandbox's command; `wished` may change the comforts, not what the platform says."""
    comforts = _comforts(settings, f"{VENV}/bin:/usr/local/bin:/usr/bin:/bin")
    facts = {
        "HOME": HOME,
        "USER": "user",
        "LOGNAME": "user",
        "PPIO_AGENT_HOST": "127.0.0.1",
        "PPIO_AGENT_PORT": str(AGENT_PORT),
        "PORT": str(AGENT_PORT),
        "DOCKER_CONTAINER": "1",
    }
    return comforts | dict(wished) | facts | _facts(sandbox_id)


def _comforts(settings: Settings, path: str) -> dict[str, str]:
    bundle = {} if settings.ca_bundle is None else {"SSL_CERT_FILE": str(settings.ca_bundle)}
    return {"PATH": path, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"} | bundle


def _facts(sandbox_id: str) -> dict[str, str]:
    proxy = f"http://127.0.0.1:{PROXY_PORT}"
    direct = "localhost,127.0.0.1,::1"
    return {
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


def egress_policy(policy: EgressPolicy, network: Network) -> EgressPolicy:
    """Return the operator's policy, narrowed by the owner's rules."""
    deny = network.deny_out if network.internet is not False else (*network.deny_out, EVERYTHING)
    return replace(policy, owner_allow=network.allow_out, owner_deny=deny)
