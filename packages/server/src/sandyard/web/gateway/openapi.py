"""The OpenAPI 3.1 document of one prefab version: a path for each function, with the schemas that calls are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandyard.services.prefabs.schemas import inputs_schema

if TYPE_CHECKING:
    from sandyard.domain.prefabs import Function
    from sandyard.services.prefabs.registry import Published

_ERROR = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {
            "type": "object",
            "required": ["error_code", "message", "request_id"],
            "properties": {name: {"type": "string"} for name in ("error_code", "message", "request_id")},
        }
    },
}


def document(found: Published) -> dict[str, Any]:
    """Return the document."""
    manifest = found.manifest
    base = f"/v1/prefabs/{manifest.id}/{manifest.version}/functions"
    return {
        "openapi": "3.1.0",
        "info": {"title": manifest.name, "version": manifest.version, "description": manifest.description},
        "paths": {f"{base}/{function.name}": {"post": _operation(function)} for function in manifest.functions},
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{"key": []}, {"bearer": []}],
    }


def _operation(function: Function) -> dict[str, Any]:
    events = {"schema": {"description": "Events, each one line of JSON with type and data; the last is done or error"}}
    content = {"application/json": {"schema": _answer(function)}, "text/event-stream": events}
    return {
        "operationId": function.name,
        "description": function.description,
        "requestBody": {"required": True, "content": {"application/json": {"schema": inputs_schema(function)}}},
        "responses": {
            "200": {"description": "How the call ended", "content": content},
            "202": {"description": "With Prefer: respond-async: the job", "content": {"application/json": {"schema": {"type": "object"}}}},
            "default": {
                "description": "The call was refused before it ran",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }


def _answer(function: Function) -> dict[str, Any]:
    returned = {"type": "object"} if function.streaming else dict(function.returns)
    files = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
    output = {"type": ["object", "null"], "properties": {"status": {"const": "SUCCESS"}, "output": returned, "files": files}}
    result = {
        "type": "object",
        "required": ["status", "output", "error"],
        "properties": {"status": {"enum": ["SUCCESS", "FAILED"]}, "output": output, "error": {"type": ["object", "null"]}},
    }
    return {
        "type": "object",
        "required": ["job_id", "status", "results"],
        "properties": {"job_id": {"type": "string"}, "status": {"type": "string"}, "results": {"type": "array", "items": result}},
    }
