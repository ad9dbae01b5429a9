"""Instances on the wire: apps that run somewhere else and report here (`platform` in agentapp.yaml)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Action = Literal["none", "reload", "restart"]
InstanceId = Annotated[str, Field(pattern=r"^[\w.:@-]{1,128}$")]


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Metrics(_Message):
    """What an instance says of itself; memory in MiB."""

    active_sessions: int = Field(0, ge=0)
    total_requests: int = Field(0, ge=0)
    memory_usage_mb: float = Field(0, ge=0)


class Heartbeat(_Message):
    """`POST /instances/{id}/heartbeat`; `timestamp` in Unix seconds, by the instance's clock."""

    status: str = Field("healthy", max_length=64)
    timestamp: float = 0
    metrics: Metrics = Metrics(active_sessions=0, total_requests=0, memory_usage_mb=0)


class Wanted(_Message):
    """`GET /instances/{id}/config`: what the instance shall do; told once."""

    updated: bool
    action: Action


class AskInstance(_Message):
    """`POST /instances/{id}/action`."""

    action: Literal["reload", "restart"]


class InstanceInfo(_Message):
    """One of `GET /instances`; `seen_at` in Unix seconds, by the platform's clock."""

    id: str
    status: str
    seen_at: float
    metrics: Metrics
    pending: Action
