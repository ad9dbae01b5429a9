"""Calls of prefab functions: what is asked, what came of it, and the job that holds them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as asked for. `version` may be an alias; `files` are s3:// URLs by key.

    `key` is the call's own idempotency key, and `digest` tells whether it is the same call.
    """

    prefab_id: str
    version: str
    function: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    files: Mapping[str, Sequence[str]] = field(default_factory=dict[str, "Sequence[str]"])
    key: str | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """How one call ended: with `output` (what the function returned) and `files`, or with an `error` that names its code."""

    output: Mapping[str, Any] | None = None
    files: Mapping[str, Sequence[str]] = field(default_factory=dict[str, "Sequence[str]"])
    error: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    done: Mapping[str, Any] | None = None
    """The event by which a streaming function said that it is done, if it did."""
    size: int = 0
    """Bytes of the output as JSON, about."""
    ran: bool = True
    """Whether the function was called at all."""

    @property
    def succeeded(self) -> bool:
        return self.error is None

    @classmethod
    def read(cls, wire: Mapping[str, Any], size: int) -> CallResult:
        """Return the result that `wire` has written, which takes `size` bytes."""
        if wire["error"] is not None:
            return cls(error=wire["error"], size=size)
        output = wire["output"]
        return cls(output=output["output"], files=output["files"], warnings=tuple(output.get("warnings", ())), size=size)

    def wire(self) -> dict[str, Any]:
        """Return the result as `POST /v1/run` answers it."""
        if self.error is not None:
            return {"status": "FAILED", "output": None, "error": dict(self.error)}
        output: dict[str, Any] = {
            "status": "SUCCESS",
            "output": self.output,
            "files": {key: list(urls) for key, urls in self.files.items()},
        }
        if self.warnings:
            output["warnings"] = list(self.warnings)
        return {"status": "SUCCESS", "output": output, "error": None}


class JobState(StrEnum):
    """The one state word of a job. All but `RUNNING` are final."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    PARTIAL_SUCCESS = "PARTIAL_SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self is not JobState.RUNNING

    @classmethod
    def of(cls, results: Sequence[CallResult]) -> JobState:
        """Return the state that a job with these results ends in."""
        good = sum(result.succeeded for result in results)
        if good == len(results):
            return cls.COMPLETED
        return cls.PARTIAL_SUCCESS if good else cls.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row: one request to run, from its admission to its end.

    `calls` names what was called (prefab, exact version, function; never parameters). `results` are kept for jobs that somebody
    may come back for: asynchronous ones, and those with an idempotency key (`body_digest` tells whether it is the same request).
    """

    id: str
    owner: str
    user: str
    state: JobState
    calls: Sequence[Mapping[str, Any]]
    results: Sequence[Mapping[str, Any]] | None = None
    created_at: float
    finished_at: float | None = None
    asynchronous: bool = False
    idempotency_key: str | None = None
    body_digest: str = ""

    @property
    def kept(self) -> bool:
        """Whether somebody may come back for the results."""
        return self.asynchronous or self.idempotency_key is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """A row: one event of an asynchronous job; `number` counts from 1 within the job, `call` is the call's place in it."""

    number: int
    call: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLog:
    """A row: the last of what one call printed, without secrets. `number` grows, and is the store's; `call` is `{job_id}.{place}`."""

    number: int = 0
    call: str
    job_id: str
    owner: str
    user: str
    prefab_id: str
    version: str
    function: str
    at: float
    succeeded: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A row: where to tell of a job's end, how often that was tried, and when it is to be tried next (Unix seconds)."""

    job_id: str
    url: str
    attempts: int
    due_at: float
