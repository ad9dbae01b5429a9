"""JSON Schema 2020-12 of a function's inputs and output, and validation that says where and why."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson

from sandkit.wire.gateway import VALIDATION_ERROR, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.domain.prefabs import FileSlot, Function

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_URLS = 1000
_ERRORS = 10
_MESSAGE = 500


def parameters_schema(function: Function) -> dict[str, Any]:
    """Return the schema of `inputs.parameters`."""
    return {
        "type": "object",
        "properties": {parameter.name: dict(parameter.schema) for parameter in function.parameters},
        "required": [parameter.name for parameter in function.parameters if parameter.required],
        "additionalProperties": False,
    }


def files_schema(function: Function) -> dict[str, Any]:
    """Return the schema of `inputs.files`."""
    slots = [slot for slot in function.files if not slot.output]
    return {
        "type": "object",
        "properties": {slot.key: _urls(slot) for slot in slots},
        "required": [slot.key for slot in slots if slot.required],
        "additionalProperties": False,
    }


def inputs_schema(function: Function) -> dict[str, Any]:
    """Return the schema of a whole `inputs` object, as OpenAPI and MCP show it."""
    schema: dict[str, Any] = {"type": "object", "properties": {"parameters": parameters_schema(function)}, "additionalProperties": False}
    required = ["parameters"] if any(parameter.required for parameter in function.parameters) else []
    if any(not slot.output for slot in function.files):
        schema["properties"]["files"] = files_schema(function)
        required += ["files"] if any(slot.required for slot in function.files) else []
    return schema | {"required": required}


def check_inputs(function: Function, parameters: Mapping[str, Any], files: Mapping[str, Sequence[str]], at: str) -> None:
    """Validate a call's inputs; `at` is the JSON pointer of its `inputs`.

    Raises:
        Refusal: VALIDATION_ERROR with `pointer` and `errors` (pointer and message of each, ten at most).
    """
    errors = _errors(parameters_schema(function), parameters, f"{at}/parameters") + _errors(files_schema(function), files, f"{at}/files")
    if errors:
        first = errors[0]
        raise Refusal(VALIDATION_ERROR, f"{first['pointer']}: {first['message']}", pointer=first["pointer"], errors=errors[:_ERRORS])


def check_value(schema: Mapping[str, Any], value: object) -> str | None:
    """Return the first thing in which a value breaks a schema, with its pointer; None where it fits."""
    errors = _errors(schema, value, "")
    return f"{errors[0]['pointer'] or '/'}: {errors[0]['message']}" if errors else None


def check_schema(function: Function) -> str | None:
    """Return what is wrong with the schemas that a manifest's function leads to; None where they are usable."""
    try:
        for schema in (parameters_schema(function), files_schema(function)):
            jsonschema_rs.Draft202012Validator(schema)
    except (ValueError, jsonschema_rs.ValidationError) as error:
        return str(error).partition("\n")[0][:_MESSAGE]
    return None


def _urls(slot: FileSlot) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "array",
        "items": {"type": "string", "pattern": "^s3://", "maxLength": 2048},
        "minItems": slot.least,
        "maxItems": _URLS if slot.most is None else min(slot.most, _URLS),
    }
    return schema | ({"description": slot.description} if slot.description else {})


def _errors(schema: Mapping[str, Any], value: object, at: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for error in _validator(orjson.dumps(schema)).iter_errors(value):
        pointer = at + "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error.instance_path)
        found.append({"pointer": pointer, "message": error.message[:_MESSAGE]})
        if len(found) == _ERRORS:
            break
    return found


@lru_cache(maxsize=512)
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(orjson.loads(schema))
