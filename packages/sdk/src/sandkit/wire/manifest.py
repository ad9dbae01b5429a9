"""`agent.yaml`: the manifest of an agent (seed 001 §3.4). One model for the command line, the platform and the public SDK."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MANIFEST_NAMES = ("agent.yaml", ".ppio-agent.yaml")

_NAME = r"^[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?$"
_MEMORY = r"^[1-9][0-9]*(?:Ki|Mi|Gi|K|M|G)?$"
_CPU = r"^(?:0*[1-9][0-9]*(?:\.[0-9]+)?|0+\.0*[1-9][0-9]*|[1-9][0-9]*m)$"
_ENTRYPOINT = r"^[^/\\].*\.py$"
_IN_WORDS = {
    _NAME: "1 to 64 lower-case letters, digits, dots and hyphens, with a letter or digit at both ends",
    _MEMORY: "a number of bytes, or of Ki, Mi or Gi: 512Mi, 2Gi",
    _CPU: "a number of cores, or of thousandths with an m: 1, 0.5, 500m",
    _ENTRYPOINT: "the path of a .py file, from the agent's directory on",
}
_BY_KIND = {
    "model_type": "a section of `key: value` lines is wanted",
    "string_type": "text is wanted; what YAML reads as a number, a date or true comes in quotes",
    "extra_forbidden": "there is no such field",
    "missing": "it is missing",
}
"""What pydantic says in the words of its own models."""

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

    name: Annotated[str, Field(pattern=_NAME)]
    """Lower-case letters, digits, hyphens and dots (seeds use names such as `data-analysis-agent-v1.0`)."""
    version: str
    author: str
    description: str | None = None
    created: str | None = None
    tags: list[str] = Field(default_factory=list)


class RuntimeSpec(_Section):
    """Resources of a session. `timeout` is the start time-out in seconds."""

    timeout: int | None = Field(default=None, ge=1, le=3600)
    memory_limit: Annotated[str, Field(pattern=_MEMORY)] | None = None
    cpu_limit: Annotated[str, Field(pattern=_CPU)] | None = None

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

    entrypoint: Annotated[str, Field(pattern=_ENTRYPOINT)]
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


def mistake(error: ErrorDetails) -> str:
    """Return what is wrong with a value of a manifest, in the words of those who write one."""
    rule = _IN_WORDS.get(error.get("ctx", {}).get("pattern", ""))
    return _BY_KIND.get(error["type"], error["msg"]) if rule is None else f"{error['input']!r} should be {rule}"
