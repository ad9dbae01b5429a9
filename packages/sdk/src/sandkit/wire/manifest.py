"""`agent.yaml`: the manifest of an agent (seed 001 §3.4). One model for the command line, the platform and the public SDK."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_NAMES = ("agent.yaml", ".ppio-agent.yaml")

_MEMORY_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "K": 10**3, "M": 10**6, "G": 10**9, "": 1}


class DeploymentPhase(StrEnum):
    """Deployment phase."""

    PENDING = "pending"
    BUILDING = "building"
    DEPLOYED = "deployed"
    FAILED = "failed"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AgentMetadata(_Section):
    """Who the agent is."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?$")]
    """Lower-case letters, digits, hyphens and dots (seeds use names such as `data-analysis-agent-v1.0`)."""
    version: str
    author: str
    description: str | None = None
    created: str | None = None
    tags: list[str] = Field(default_factory=list)


class RuntimeSpec(_Section):
    """Resources of a session. `timeout` is the start time-out in seconds."""

    timeout: int | None = Field(None, ge=1, le=3600)
    memory_limit: Annotated[str, Field(pattern=r"^[1-9][0-9]*(?:Ki|Mi|Gi|K|M|G)?$")] | None = None
    cpu_limit: Annotated[str, Field(pattern=r"^(?:[0-9]+(?:\.[0-9]+)?|[1-9][0-9]*m)$")] | None = None

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes, or None."""
        if self.memory_limit is None:
            return None
        digits = self.memory_limit.rstrip("KMGi")
        return int(digits) * _MEMORY_UNITS[self.memory_limit[len(digits) :]]

    @property
    def cpus(self) -> float | None:
        """The CPU limit in cores, or None."""
        if self.cpu_limit is None:
            return None
        return float(self.cpu_limit[:-1]) / 1000 if self.cpu_limit.endswith("m") else float(self.cpu_limit)


class SandboxSpec(_Section):
    """Where the agent was deployed."""

    template_id: str | None = None


class AgentSpec(_Section):
    """How the agent is run."""

    entrypoint: Annotated[str, Field(pattern=r"^[^/\\].*\.py$")]
    runtime: RuntimeSpec | None = None
    sandbox: SandboxSpec | None = None


class AgentStatus(BaseModel):
    """Kept by the system."""

    phase: DeploymentPhase | None = None
    template_id: str | None = None
    last_deployed: str | None = None
    build_id: str | None = None


class AgentConfig(_Section):
    """A whole manifest."""

    apiVersion: Literal["v1"] = "v1"  # noqa: N815 (the manifest's spelling)
    kind: Literal["Agent"] = "Agent"
    metadata: AgentMetadata
    spec: AgentSpec
    status: AgentStatus | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON values, without what is not set."""
        return self.model_dump(mode="json", exclude_none=True)
