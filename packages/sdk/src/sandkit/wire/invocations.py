"""What a client asks of an agent and what it is told: the bodies of `/invocations` and `/ping` (seed 001 §3.4, §5.2)."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

ENVELOPE_KEYS = frozenset({"result", "status", "duration"})
"""A body is an envelope only if it has all of these; otherwise it is what the agent answered itself."""


class InvocationRequest(BaseModel):
    """A call. All fields are optional, others are kept and travel along; `timeout` is in seconds.

    `session_id` is another name of `sandbox_id` on the way in, and is never written beside it.
    """

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    prompt: str | None = None
    query: str | None = None
    data: dict[str, Any] | None = None
    sandbox_id: str | None = Field(default=None, validation_alias=AliasChoices("sandbox_id", "session_id"))
    timeout: int | None = None
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    metadata: dict[str, Any] | None = None
    user_id: str | None = None
    request_id: str | None = None
    stream_options: dict[str, Any] | None = None

    @property
    def session_id(self) -> str | None:
        """The sandbox id under its older name."""
        return self.sandbox_id

    def body(self) -> dict[str, Any]:
        """Return the JSON body: what the caller set, and nothing else. Without `stream` the agent's return type decides."""
        return self.model_dump(mode="json", exclude_unset=True)


class InvocationResponse(BaseModel):
    """An answer; `duration` is in seconds. It reads as an object (`response.result`) and as a mapping (`response["result"]`)."""

    model_config = ConfigDict(extra="allow")

    result: Any
    status: str = "success"
    duration: float
    metadata: dict[str, Any] | None = None
    error: str | None = None
    error_type: str | None = None
    processing_time: float | None = None
    queue_time: float | None = None
    tokens_used: int | None = None
    cost: float | None = None

    def keys(self) -> list[str]:
        """The names of all fields, also of those that the agent added."""
        return [*type(self).model_fields, *(self.model_extra or {})]

    def values(self) -> list[Any]:
        """The values of all fields, in the order of `keys`."""
        return [self[key] for key in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """All fields with their values."""
        return [(key, self[key]) for key in self.keys()]

    def __getitem__(self, key: str) -> Any:
        if key in type(self).model_fields:
            return getattr(self, key)
        return (self.model_extra or {})[key]

    def __contains__(self, key: object) -> bool:
        return key in type(self).model_fields or key in (self.model_extra or {})

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field's value, or `default` where there is no such field."""
        return self[key] if key in self else default  # noqa: SIM401 (this is the method that it would call)


class PingStatus(str, Enum):  # noqa: UP042 (seed 001 §3.4 derives it from str and Enum, and says what it prints as)
    """Health of an agent. `HealthyBusy` counts as ready. Read in any case, with or without a separator."""

    HEALTHY = "Healthy"
    HEALTHY_BUSY = "HealthyBusy"

    @classmethod
    def _missing_(cls, value: object) -> PingStatus | None:
        word = str(value).lower().replace("_", "").replace("-", "").replace(" ", "")
        return next((status for status in cls if status.value.lower() == word), None)


class PingResponse(BaseModel):
    """The answer of a healthy agent to `/ping`; `timestamp` is ISO 8601. Keys that the agent's own check adds are kept."""

    model_config = ConfigDict(extra="allow")

    status: PingStatus
    message: str | None = None
    timestamp: str | None = None
