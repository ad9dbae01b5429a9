"""Domain records as the gateway's messages: pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandyard.domain.calls import JobState
from sandyard.domain.prefabs import PrefabState
from sandyard.services.prefabs.schemas import files_schema, parameters_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.domain.calls import CallResult, Job
    from sandyard.domain.prefabs import Function, SecretNeed
    from sandyard.services.prefabs.registry import Published

_STATUS = {PrefabState.DEPLOYED: "DEPLOYED", PrefabState.YANKED: "YANKED", PrefabState.FAILED: "FAILED"}


def job(row: Job) -> dict[str, Any]:
    """Return a job's description; `results` is null until it ends, and for jobs whose results nobody asked to keep."""
    return {
        "job_id": row.id,
        "status": row.state.value,
        "calls": list(row.calls),
        "results": None if row.results is None else list(row.results),
        "created_at": time(row.created_at),
        "finished_at": None if row.finished_at is None else time(row.finished_at),
    }


def end_of(job_id: str, result: CallResult) -> dict[str, Any]:
    """Return the last event of a stream: the function's own `done` where it yielded one, or the error."""
    if result.error is not None:
        error = dict(result.error)
        return {
            "type": "error",
            "data": error.pop("message", ""),
            "error_code": error.pop("error_code"),
            "metadata": error | {"job_id": job_id},
        }
    event: dict[str, Any] = {"type": "done", "data": None, **(result.done or {})}
    if result.files:
        event["files"] = {key: list(urls) for key, urls in result.files.items()}
    return event


def terminal(job_id: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last event of a call that yields none itself: the whole result."""
    if result["error"] is not None:
        error = dict(result["error"])
        return {
            "type": "error",
            "data": error.pop("message", ""),
            "error_code": error.pop("error_code"),
            "metadata": error | {"job_id": job_id},
        }
    return {"type": "done", "data": result["output"], "metadata": {"job_id": job_id}}


def job_event(row: Job) -> dict[str, Any]:
    """Return the last event of a job's events."""
    if row.state in (JobState.COMPLETED, JobState.PARTIAL_SUCCESS):
        return {"type": "done", "data": job(row)}
    code = "CANCELLED" if row.state is JobState.CANCELLED else "FAILED"
    return {"type": "error", "data": f"The job has ended: {row.state.value}", "error_code": code, "metadata": job(row)}


def prefab(found: Published) -> dict[str, Any]:
    """Return a version as lists show it."""
    row, manifest = found.version, found.manifest
    secrets = {need.name: need for function in manifest.functions for need in function.secrets}
    return {
        "id": manifest.id,
        "prefab_id": manifest.id,
        "version": manifest.version,
        "name": manifest.name,
        "description": manifest.description,
        "author": manifest.author,
        "tags": list(manifest.tags),
        "visibility": found.prefab.visibility,
        "publisher": found.prefab.owner,
        "is_official": False,
        "requires_secrets": any(need.required for need in secrets.values()),
        "secrets": [secret(need) for need in secrets.values()],
        "deployment_status": _STATUS.get(row.state, "DEPLOYING"),
        "reason": row.reason,
        "digest": f"sha256:{row.digest}",
        "functions": [function.name for function in manifest.functions],
        "created_at": time(row.created_at),
        "deployed_at": None if row.finished_at is None or row.state is PrefabState.FAILED else time(row.finished_at),
        "updated_at": time(row.finished_at or row.created_at),
    }


def spec(found: Published, *, own: bool) -> dict[str, Any]:
    """Return a version's whole specification; what its build said is for its owner."""
    described = prefab(found) | {"functions": [function(item) for item in found.manifest.functions]}
    described |= {"manifest": dict(found.version.manifest), "warnings": list(found.version.warnings)}
    return described | ({"log": found.version.log} if own else {})


def function(item: Function) -> dict[str, Any]:
    """Return a function with its JSON Schemas (2020-12)."""
    return {
        "name": item.name,
        "description": item.description,
        "streaming": item.streaming,
        "parameters": parameters_schema(item),
        "files": files_schema(item),
        "output_files": [slot.key for slot in item.files if slot.output],
        "returns": dict(item.returns),
        "secrets": [secret(need) for need in item.secrets],
    }


def secret(need: SecretNeed) -> dict[str, Any]:
    """Return a secret's description: never a value."""
    return {"name": need.name, "description": need.description, "instructions": need.instructions, "required": need.required}


def time(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
