"""Any Python value that an agent may return, as JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any, cast

import orjson

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_LENIENT = _OPTIONS | orjson.OPT_NON_STR_KEYS  # slower, so only after the quick way has failed

_DEEP = 20


class NotJsonError(TypeError):
    """A value has no form in JSON; the message names its type and where in the result it stands."""


def to_json(value: Any) -> bytes:
    """Return `value` as JSON, in UTF-8 and on one line.

    Beside JSON's own types: dataclasses, pydantic models, enums, dates, UUIDs, numpy values, Decimal and paths as text, bytes
    as base64, sets and iterables as lists. NaN is null.

    Raises:
        NotJsonError: there is no such form.
    """
    try:
        return orjson.dumps(value, _default, _OPTIONS)
    except TypeError:
        return _lenient(value)


def _lenient(value: Any) -> bytes:
    try:
        return orjson.dumps(value, _default, _LENIENT)
    except TypeError as error:
        place, culprit = _find("result", value)
        raise NotJsonError(f"{place} is of type {type(culprit).__name__}, which has no form in JSON ({error})") from error


def _default(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # pydantic's models, without importing pydantic for agents that have none
    if dump is not None:
        return dump()
    if isinstance(value, Decimal | PurePath):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(cast("Mapping[Any, Any]", value))
    if isinstance(value, Iterable):
        return list(cast("Iterable[Any]", value))
    raise TypeError(f"no form in JSON for {type(value).__name__}")


def _find(place: str, value: Any, depth: int = 0) -> tuple[str, Any]:
    """Return the path and the value of the innermost part that cannot be encoded; a cycle is followed for a few steps only."""
    for step, part in _parts(value) if depth < _DEEP else ():
        try:
            orjson.dumps(part, _default, _LENIENT)
        except TypeError:
            return _find(place + step, part, depth + 1)
    return place, value


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{key!r}]", part) for key, part in cast("dict[Any, Any]", value).items()]
    if isinstance(value, list | tuple):
        return [(f"[{index}]", part) for index, part in enumerate(cast("list[Any]", value))]
    return [(f".{name}", part) for name, part in getattr(value, "__dict__", {}).items()]
