"""What is sent to the gateway and how its answers are read, without a socket (gateway-contract 1.3, 2.7)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from urllib.parse import quote, urlencode

from gateway_sdk import faults
from gateway_sdk.exceptions import ValidationError
from gateway_sdk.models import BatchResult, CallStatus, Job, JobStatus, PrefabCall, PrefabInfo, PrefabResult
from sandkit.http.messages import EVENTS_TYPE, JSON_TYPE, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway_sdk.transfers import Upload

T_co = TypeVar("T_co", covariant=True)
USER_AGENT = "gateway-sdk (sandyard)"
_FILES = "/internal/files"
_TOKEN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Wanted(Generic[T_co]):
    """A request with the function that reads its success.

    `about` is what failures are told with; `repeatable` requests may be sent again; `upload` is a body that comes from a file;
    `signed` requests go to a signed URL as they are: they carry no credential. A `lasting` answer may take as long as it takes, as
    long as it keeps coming; of a `streamed` one only the head is read, and its body is the client's.
    """

    request: Request
    read: Callable[[Reply], T_co]
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    repeatable: bool = False
    upload: Upload | None = None
    signed: bool = False
    lasting: bool = False
    streamed: bool = False


def run(calls: Sequence[PrefabCall], *, key: str | None) -> Wanted[BatchResult]:
    """Run calls and wait for all of them."""
    return Wanted(
        _run(calls, stream=False, key=key),
        lambda reply: read_batch(_json(reply), len(calls)),
        _about(calls),
        repeatable=_is_repeatable(calls, key),
    )


def stream(call: PrefabCall, *, key: str | None) -> Wanted[Reply]:
    """Run one call and have its events as they come."""
    request = _run([call], stream=True, key=key)
    return Wanted(request, _head, _about([call]), repeatable=_is_repeatable([call], key), lasting=True, streamed=True)


def start_job(calls: Sequence[PrefabCall], *, key: str | None, callback_url: str | None = None) -> Wanted[Job]:
    """Run calls without waiting for them; who listens at `callback_url` is told of the end."""
    request = _run(calls, stream=False, key=key, prefer="respond-async", callback_url=callback_url)
    return Wanted(request, _read_job, _about(calls), repeatable=key is not None)


def get_job(job_id: str) -> Wanted[Job]:
    return _get(_job_path(job_id), _read_job, {"job_id": job_id})


def cancel_job(job_id: str) -> Wanted[Job]:
    request = Request("DELETE", _job_path(job_id), {"accept": JSON_TYPE})
    return Wanted(request, _read_job, {"job_id": job_id}, repeatable=True)


def webhook_secret() -> Wanted[str]:
    return _get("/v1/webhooks/secret", lambda reply: str(_object(_json(reply))["secret"]))


def job_events(job_id: str, after: int) -> Wanted[Reply]:
    """Follow a job from the event behind `after`."""
    headers = {"accept": EVENTS_TYPE} | ({"last-event-id": str(after)} if after else {})
    request = Request("GET", f"{_job_path(job_id)}/events", headers)
    return Wanted(request, _head, {"job_id": job_id}, repeatable=True, lasting=True, streamed=True)


def convert(headers: Mapping[str, str]) -> Wanted[tuple[str, float]]:
    """Exchange an API key for an internal token and the seconds that it lives."""
    request = Request("POST", "/v1/auth/convert_to_internal_token", {**headers, "accept": JSON_TYPE}, b"")
    return Wanted(request, _read_token, repeatable=True)


def list_prefabs(status: str | None) -> Wanted[list[PrefabInfo]]:
    query = f"?{urlencode({'status': status})}" if status is not None else ""
    return _get(f"/v1/prefabs{query}", lambda reply: [_info(item) for item in _list(_json(reply))])


def prefab_spec(prefab_id: str, version: str | None) -> Wanted[dict[str, Any]]:
    place = f"/{quote(version, safe='')}" if version is not None else ""
    about = {"prefab_id": prefab_id, "version": version or "latest"}
    return _get(f"/v1/prefabs/{quote(prefab_id, safe='')}{place}/spec", lambda reply: _object(_json(reply)), about)


def upload_file(upload: Upload) -> Wanted[dict[str, Any]]:
    """Send a multipart form, whose file is streamed."""
    path = f"{_FILES}/upload_temp" if upload.temporary else f"{_FILES}/upload"
    headers = {"content-type": upload.content_type or "", "content-length": str(upload.length), "accept": JSON_TYPE}
    return Wanted(
        Request("POST", path, headers), lambda reply: _object(_json(reply)), {"filename": upload.name}, upload=upload, lasting=True
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """A signed address that takes a file, the headers that must go with it, and the s3:// URL that the file then has."""

    address: str
    headers: Mapping[str, str]
    s3_url: str


def upload_url(upload: Upload) -> Wanted[Offer]:
    """Ask for a signed address to put a file to. Its size is announced: an address past the gateway, in a bucket, is good for no other."""
    body = {"filename": upload.name, "content_type": upload.content_type}
    request = _json_request("POST", f"{_FILES}/generate_upload_url", body, {"x-upload-content-length": str(upload.length)})
    return Wanted(request, _read_offer, {"filename": upload.name})


def put(offer: Offer, upload: Upload) -> Wanted[None]:
    """Send a file to a signed address. Only a type that was named when it was signed may be named now."""
    typed = {"content-type": upload.content_type} if upload.content_type else {}
    headers = {**offer.headers, "content-length": str(upload.length), **typed}
    base, path = _split(offer.address)
    return Wanted(
        Request("PUT", path, headers, base_url=base), lambda _: None, {"filename": upload.name}, upload=upload, signed=True, lasting=True
    )


def presigned(s3_url: str, expires_in: int) -> Wanted[str]:
    """Ask for a signed address to get a file from."""
    _check_s3([s3_url], "s3_url")
    query = urlencode({"s3_url": s3_url, "mode": "presigned", "expires_in": expires_in})
    return _get(f"{_FILES}/download?{query}", lambda reply: str(_object(_json(reply))["presigned_url"]), {"s3_url": s3_url})


def fetch(address: str, s3_url: str) -> Wanted[Reply]:
    """Get a file from a signed address."""
    base, path = _split(address)
    request = Request("GET", path, base_url=base)
    return Wanted(request, _head, {"s3_url": s3_url}, repeatable=True, signed=True, lasting=True, streamed=True)


def list_files(limit: int, token: str | None) -> Wanted[dict[str, Any]]:
    return _list_of("list", {"limit": limit, "continuation_token": token})


def list_temp_files(session_id: str | None, limit: int, token: str | None) -> Wanted[dict[str, Any]]:
    return _list_of("list_temp", {"session_id": session_id, "limit": limit, "continuation_token": token})


def cleanup(session_id: str) -> Wanted[int]:
    request = Request("DELETE", f"{_FILES}/cleanup_temp?{urlencode({'session_id': session_id})}", {"accept": JSON_TYPE})
    return Wanted(request, lambda reply: int(_object(_json(reply))["deleted_count"]), {"session_id": session_id}, repeatable=True)


def result_of(item: object, job_id: str | None) -> PrefabResult:
    """Read one result.

    Raises:
        GatewayError: its status is no known one.
    """
    fields = _object(item)
    if fields.get("status") not in (CallStatus.SUCCESS.value, CallStatus.FAILED.value):
        raise faults.unreadable(f"a result has the status {fields.get('status')!r}")
    return PrefabResult(CallStatus(fields["status"]), fields.get("output"), fields.get("error"), job_id)


def read_batch(value: object, count: int) -> BatchResult:
    """Read a run's answer, which has one result for each call.

    Raises:
        GatewayError: it has not.
    """
    fields = _object(value)
    results = _list(fields.get("results"))
    job_id = fields.get("job_id")
    if len(results) != count:
        raise faults.unreadable(f"{len(results)} results for {count} calls")
    return BatchResult(job_id, str(fields.get("status", "")), [result_of(item, job_id) for item in results])


def _head(reply: Reply) -> Reply:
    return reply


def _read_job(reply: Reply) -> Job:
    fields = _object(_json(reply))
    status, job_id, results = fields.get("status"), str(fields["job_id"]), fields.get("results")
    if status not in JobStatus.__members__:
        raise faults.unreadable(f"a job has the status {status!r}")
    return Job(
        job_id,
        JobStatus(status),
        tuple(_object(call) for call in _list(fields.get("calls"))),
        None if results is None else [result_of(item, job_id) for item in _list(results)],
        fields.get("created_at"),
        fields.get("finished_at"),
    )


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _run(
    calls: Sequence[PrefabCall], *, stream: bool, key: str | None, prefer: str | None = None, callback_url: str | None = None
) -> Request:
    told_of = {} if callback_url is None else {"callback_url": callback_url}
    body = {"calls": [_call(call) for call in calls], "stream": stream, **told_of}
    told = {"idempotency-key": None if key is None else _checked_key(key), "prefer": prefer}
    headers = {"accept": EVENTS_TYPE if stream else JSON_TYPE} | {name: value for name, value in told.items() if value is not None}
    return _json_request("POST", "/v1/internal/run", body, headers)


def _is_repeatable(calls: Sequence[PrefabCall], key: str | None) -> bool:
    """Whether all of it runs once, however often it is sent."""
    return key is not None or all(call.idempotency_key is not None for call in calls)


def _call(call: PrefabCall) -> dict[str, Any]:
    inputs: dict[str, Any] = {"parameters": call.parameters}
    if call.files:
        for key, urls in call.files.items():
            _check_s3(urls, f"files[{key!r}]")
        inputs["files"] = {key: list(urls) for key, urls in call.files.items()}
    sent = {"prefab_id": call.prefab_id, "version": call.version, "function_name": call.function_name, "inputs": inputs}
    return sent if call.idempotency_key is None else sent | {"idempotency_key": _checked_key(call.idempotency_key)}


def _check_s3(urls: Sequence[str], where: str) -> None:
    if isinstance(urls, str):
        raise ValidationError(f"{where} must be a list of s3:// URLs, not one string", "VALIDATION_ERROR")
    for url in urls:
        if not isinstance(url, str) or not url.startswith("s3://"):  # pyright: ignore[reportUnnecessaryIsInstance] (callers pass paths)
            raise ValidationError(f"{where} must hold s3:// URLs, not {url!r:.200}: upload the file first", "VALIDATION_ERROR")


def _checked_key(key: str) -> str:
    if not (0 < len(key) <= 255 and key.isascii() and all(" " < character < "\x7f" for character in key)):
        raise ValidationError("an idempotency key is 1 to 255 printable ASCII characters without spaces", "VALIDATION_ERROR")
    return key


def _about(calls: Sequence[PrefabCall]) -> dict[str, Any]:
    return {"prefab_id": calls[0].prefab_id, "version": calls[0].version} if len(calls) == 1 else {}


def _json_request(method: str, path: str, value: object, headers: Mapping[str, str] | None = None) -> Request:
    """Return a request with a JSON body in UTF-8.

    Raises:
        ValueError: it holds NaN, an infinity, a cycle or half a character.
        TypeError: it holds what JSON has no form for.
    """
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Request(method, path, {"content-type": JSON_TYPE, "accept": JSON_TYPE, **(headers or {})}, body)


def _get(path: str, read: Callable[[Reply], T_co], about: Mapping[str, Any] | None = None) -> Wanted[T_co]:
    return Wanted(Request("GET", path, {"accept": JSON_TYPE}), read, about or {}, repeatable=True)


def _list_of(name: str, query: Mapping[str, Any]) -> Wanted[dict[str, Any]]:
    told = urlencode({key: value for key, value in query.items() if value is not None})
    return _get(f"{_FILES}/{name}?{told}", _read_files)


def _read_files(reply: Reply) -> dict[str, Any]:
    found = _object(_json(reply))
    _list(found.get("files"))
    if found.get("next_token", "") is None:
        del found["next_token"]  # the key is absent on the last page
    return found


def _read_token(reply: Reply) -> tuple[str, float]:
    found = _object(_json(reply))
    token = found["internal_token"]
    if not isinstance(token, str) or not token:
        raise faults.unreadable("the exchanged token is missing")
    return token, float(found.get("expires_in", _TOKEN_SECONDS))


def _read_offer(reply: Reply) -> Offer:
    found = _object(_json(reply))
    headers = {str(name).lower(): str(value) for name, value in _object(found.get("headers") or {}).items()}
    return Offer(str(found["upload_url"]), headers, str(found["s3_url"]))


def _info(item: object) -> PrefabInfo:
    found = _object(item)
    return PrefabInfo(
        prefab_id=str(found.get("prefab_id") or found["id"]),
        version=str(found["version"]),
        name=str(found.get("name", "")),
        description=str(found.get("description", "")),
        tags=tuple(map(str, found.get("tags") or ())),
        functions=tuple(_function_name(function) for function in found.get("functions") or ()),
        deployment_status=str(found.get("deployment_status", "")),
        requires_secrets=bool(found.get("requires_secrets")),
        raw=found,
    )


def _function_name(function: object) -> str:
    return str(cast("dict[str, Any]", function).get("name", "")) if isinstance(function, dict) else str(function)


def _json(reply: Reply) -> object:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        shown = reply.body[:100].decode("utf-8", "replace").strip()
        raise faults.unreadable(f"HTTP {reply.status} with no JSON: {shown!r}", reply.status) from None


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise faults.unreadable(f"an object was expected, not {type(value).__name__}")
    return cast("dict[str, Any]", value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise faults.unreadable(f"an array was expected, not {type(value).__name__}")
    return cast("list[Any]", value)


def _split(address: str) -> tuple[str, str]:
    """Return a signed address as base and rest."""
    scheme, separator, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    if not separator or scheme not in ("http", "https") or not host or not address.isascii() or any(c <= " " for c in address):
        raise faults.unreadable("the signed address is none")
    return f"{scheme}://{host}", f"{slash or '/'}{path}"
