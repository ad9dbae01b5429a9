"""What is asked for and what comes back: frozen records (seed 004, "API 参考")."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from gateway_sdk import faults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway_sdk.exceptions import GatewayError

TERMINAL = ("done", "error")


class CallStatus(StrEnum):
    """How a call ended."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


@dataclass(frozen=True)
class PrefabCall:
    """One call of a batch. `version` may be an alias: `latest`, `^1`, `1.0`; `files` are s3:// URLs by the function's keys.

    With an `idempotency_key` of its own the gateway runs this call once, in whatever batch it is sent again.
    """

    prefab_id: str
    version: str
    function_name: str
    parameters: Mapping[str, Any] | None = None
    files: Mapping[str, Sequence[str]] | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class PrefabResult:
    """How a call ended. `output` is None where it failed, `error` (`{"error_code", "message", …}`) where it succeeded."""

    status: CallStatus
    output: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    job_id: str | None = None

    def is_success(self) -> bool:
        """Whether the function returned."""
        return self.status is CallStatus.SUCCESS

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field of the output; where the output is an envelope that has no such field, of what the function returned."""
        output = self.output or {}
        if key in output or not _is_envelope(output):
            return output.get(key, default)
        returned = output["output"]
        return cast("dict[str, Any]", returned).get(key, default) if isinstance(returned, dict) else default

    def get_result(self) -> Any:
        """Return the business result: the envelope `{"status", "output", "files"}`, else the output's `result`, else the output."""
        output = self.output
        if output is None or _is_envelope(output) or "result" not in output:
            return output
        return output["result"]

    def get_files(self) -> dict[str, list[str]]:
        """Return the s3:// URLs of the files that the function wrote, by key; empty where it wrote none."""
        found: object = (self.output or {}).get("files")
        if not isinstance(found, dict):
            return {}
        return {key: list(urls) for key, urls in cast("dict[str, list[str]]", found).items()}

    def exception(self) -> GatewayError | None:
        """Return the failure as the exception that it would be, or None; nothing raises it for you."""
        return None if self.is_success() else faults.from_result(self.error or {})


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch: `results` has one for each call, in order; `status` is COMPLETED, PARTIAL_SUCCESS or FAILED."""

    job_id: str | None
    status: str
    results: list[PrefabResult] = field(default_factory=list[PrefabResult])


class JobStatus(StrEnum):
    """How a job stands. All but `RUNNING` are final."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    PARTIAL_SUCCESS = "PARTIAL_SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class Job:
    """A run that goes on without its caller, for a day after its end. Times are ISO 8601, in UTC.

    `calls` says what is called (`prefab_id`, exact `version`, `function_name`); `results` has one for each, in order, when the job has
    ended. It stays None for runs that were waited for: their results were the answer.
    """

    job_id: str
    status: JobStatus
    calls: tuple[dict[str, Any], ...] = ()
    results: list[PrefabResult] | None = None
    created_at: str | None = None
    finished_at: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status is not JobStatus.RUNNING


@dataclass(frozen=True)
class StreamEvent:
    """One event: `type` is start, content, progress, done, error, or a word of the function's own.

    `error_code` is there for errors, `metadata` and `files` (s3:// URLs by key) where the gateway sends them. A job's events have a
    `number`, to go on after, and `call`, the place in the job of the call that they are from.
    """

    type: str
    data: Any = None
    error_code: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    files: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    number: int | None = None
    call: int | None = None

    def exception(self) -> GatewayError | None:
        """Return an `error` event as the exception that it would be, None for all others."""
        if self.type != "error":
            return None
        return faults.from_result({**self.metadata, "error_code": self.error_code or "UNKNOWN_ERROR", "message": str(self.data)})


@dataclass(frozen=True)
class PrefabInfo:
    """A published version, as lists show it. `raw` is all that the gateway says of it."""

    prefab_id: str
    version: str
    name: str
    description: str
    tags: tuple[str, ...]
    functions: tuple[str, ...]
    deployment_status: str
    requires_secrets: bool
    raw: dict[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """The same as `prefab_id`."""
        return self.prefab_id


def _is_envelope(output: Mapping[str, Any]) -> bool:
    return "output" in output and ("status" in output or "files" in output)
