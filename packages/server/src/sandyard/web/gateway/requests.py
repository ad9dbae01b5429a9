"""What callers ask for, read from bodies and headers: pure, and every refusal names its place."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from sandkit.wire.gateway import BAD_REQUEST, PAYLOAD_TOO_LARGE, VALIDATION_ERROR, Refusal
from sandyard.domain.calls import Call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import Headers

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TEXT = 256
EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a caller wants the answer. `stream`: True events, False one JSON document, None as the function is."""

    stream: bool | None = None
    asynchronous: bool = False
    key: str | None = None
    digest: str = ""
    callback: str | None = None
    """Where to tell of an asynchronous job's end."""


def read_calls(body: object, most: int) -> list[Call]:
    """Return the calls of a run's body.

    Raises:
        Refusal: VALIDATION_ERROR with the JSON pointer; PAYLOAD_TOO_LARGE for more than `most` calls.
    """
    top = _object(body, "")
    calls = top.get("calls")
    if not isinstance(calls, list) or not calls:
        raise _invalid("/calls", "must be an array of at least one call")
    found = cast("list[Any]", calls)
    if len(found) > most:
        raise Refusal(PAYLOAD_TOO_LARGE, f"A request may hold {most} calls, not {len(found)}", limit=most)
    return [_call(item, f"/calls/{place}") for place, item in enumerate(found)]


def read_inputs(value: object, at: str) -> tuple[Mapping[str, Any], Mapping[str, list[str]]]:
    """Return parameters and files of an `inputs` object; the old flat form (parameters without that name) is taken, too."""
    inputs = {} if value is None else _object(value, at)
    if inputs and not inputs.keys() & {"parameters", "files"}:
        return inputs, {}
    strange = inputs.keys() - {"parameters", "files"}
    if strange:
        raise _invalid(f"{at}/{min(strange)}", "is neither parameters nor files")
    parameters = inputs.get("parameters")
    files = inputs.get("files")
    checked = {} if files is None else _object(files, f"{at}/files")
    for key, urls in checked.items():
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in cast("list[Any]", urls)):
            raise _invalid(f"{at}/files/{key}", "must be an array of s3:// URLs")
    return {} if parameters is None else _object(parameters, f"{at}/parameters"), checked


def read_wish(headers: Headers, body: object, raw: bytes) -> Wish:
    """Return how the answer is wanted: `stream` in the body beats the Accept header, whose `*/*` leaves it to the function.

    Raises:
        Refusal: BAD_REQUEST for an unusable Idempotency-Key, VALIDATION_ERROR for an unusable `stream`.
    """
    wanted: object = cast("dict[str, Any]", body).get("stream") if isinstance(body, dict) else None
    if not isinstance(wanted, bool | None):
        raise _invalid("/stream", "must be true or false")
    asynchronous = "respond-async" in {part.strip().lower() for part in headers.get("prefer", "").split(",")}
    callback: object = cast("dict[str, Any]", body).get("callback_url") if isinstance(body, dict) else None
    if not isinstance(callback, str | None) or (callback is not None and not asynchronous):
        raise _invalid("/callback_url", "must be a URL, of a request that says Prefer: respond-async")
    key = headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Refusal(BAD_REQUEST, "Idempotency-Key must be 1 to 255 printable ASCII characters without spaces")
    return Wish(
        stream=_accepted(headers.get("accept", "*/*")) if wanted is None else wanted,
        asynchronous=asynchronous,
        callback=callback,
        key=key,
        digest=hashlib.sha256(raw).hexdigest(),
    )


def _accepted(accept: str) -> bool | None:
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if EVENTS in kinds:
        return True
    return False if "application/json" in kinds else None


def _call(value: object, at: str) -> Call:
    item = _object(value, at)
    parameters, files = read_inputs(item.get("inputs"), f"{at}/inputs")
    key = item.get("idempotency_key")
    if key is not None and not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise _invalid(f"{at}/idempotency_key", "must be 1 to 255 printable ASCII characters without spaces")
    return Call(
        prefab_id=_text(item, "prefab_id", at),
        version=_text(item, "version", at) if item.get("version") is not None else "latest",
        function=_text(item, "function_name", at),
        parameters=parameters,
        files=files,
        key=key,
        digest="" if key is None else hashlib.sha256(orjson.dumps(item, option=orjson.OPT_SORT_KEYS)).hexdigest(),
    )


def _object(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(at or "/", "must be an object")
    return cast("dict[str, Any]", value)


def _text(item: Mapping[str, Any], name: str, at: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT:
        raise _invalid(f"{at}/{name}", f"must be a string of 1 to {_TEXT} characters")
    return value


def _invalid(pointer: str, message: str) -> Refusal:
    return Refusal(VALIDATION_ERROR, f"{pointer}: {message}", pointer=pointer)
