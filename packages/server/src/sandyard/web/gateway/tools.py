"""Prefab functions as tools of the Model Context Protocol, and how calls end as their results: pure."""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, Any, cast

import mcp_types as types
import orjson

from sandkit.wire.gateway import OUTPUT_INVALID
from sandyard.services.prefabs import aliases
from sandyard.services.prefabs.schemas import check_value, files_schema, parameters_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandyard.domain.calls import CallResult
    from sandyard.domain.prefabs import Function, Manifest
    from sandyard.services.prefabs.registry import Published

VERSION_KEY = "sandyard/version"
"""In a call's `_meta`: the version or alias to call. In a tool's: the version that the caller would call."""
_JOINT = "__"
_TITLE = 256
_DESCRIPTION = 2000
_STREAM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"content": {"description": "All that it yielded as content"}, "result": {"description": "What it said at its end"}},
    "required": ["content", "result"],
}
_FILES_SCHEMA: dict[str, Any] = {"description": "An object of s3:// URLs, by key: the files that the call left, where it left any"}
_PROGRESS = ("progress", "percent", "current", "step")
_AT = "/calls/0/inputs"


def name_of(manifest: Manifest, function: Function) -> str:
    """Return the tool's name: neither part of it may hold two underscores at the joint, since a prefab's id has none."""
    return f"{manifest.id}{_JOINT}{function.name}"


def split(name: str) -> tuple[str, str] | None:
    """Return prefab id and function of a tool's name; None where it is none."""
    prefab_id, joint, function = name.partition(_JOINT)
    return (prefab_id, function) if prefab_id and joint and function else None


def admitted(versions: Sequence[Published], alias: str) -> list[Published]:
    """Return of each prefab the version that `alias` means, by id; those without one are left out."""
    by_id: dict[str, dict[str, Published]] = {}
    for found in versions:
        by_id.setdefault(found.manifest.id, {})[found.version.version] = found
    chosen = [(held, alias if aliases.is_exact(alias) and alias in held else _newest(held, alias)) for held in by_id.values()]
    return [held[version] for held, version in chosen if version is not None]


def tools_of(found: Published) -> list[types.Tool]:
    """Return the version's functions as tools."""
    return [_tool(found, function) for function in found.manifest.functions]


def input_schema(function: Function) -> dict[str, Any]:
    """Return the schema of a call's arguments: the parameters, and the input files' s3:// URLs by key in an object beside them."""
    schema = parameters_schema(function)
    if not _takes_files(function):
        return schema
    key = files_key(function)
    required = [key] if any(slot.required for slot in function.files) else []
    return schema | {"properties": schema["properties"] | {key: files_schema(function)}, "required": schema["required"] + required}


def files_key(function: Function) -> str:
    """Return the argument that holds the files: `files`, with underscores where a parameter is called that."""
    key, taken = "files", {parameter.name for parameter in function.parameters}
    while key in taken:
        key += "_"
    return key


def inputs(function: Function | None, arguments: Mapping[str, Any]) -> tuple[Mapping[str, Any], object]:
    """Return parameters and files of a call's arguments; nothing is checked."""
    if function is None or not _takes_files(function):
        return arguments, None
    key = files_key(function)
    return {name: value for name, value in arguments.items() if name != key}, arguments.get(key)


def output_schema(function: Function) -> dict[str, Any]:
    """Return the schema of what a call answers: what the manifest says that it returns, where anything may be null, and the files."""
    files: dict[str, Any] = {"files": _FILES_SCHEMA}
    if function.streaming:
        return _STREAM_SCHEMA | {"properties": files | _STREAM_SCHEMA["properties"]}
    described: Mapping[str, Any] = function.returns.get("properties", {})
    properties = {name: _nullable(below) for name, below in described.items()}
    return {**function.returns, "type": "object", "properties": files | properties}


def answer(function: Function, result: CallResult, output: Mapping[str, Any] | None) -> types.CallToolResult:
    """Return a call's end as a tool's result; an output that breaks the manifest's own schema is an error that holds it."""
    if result.error is not None:
        return failure(result.error)
    structured = dict(output or {})
    if result.files and "files" not in structured:
        structured["files"] = {key: list(urls) for key, urls in result.files.items()}
    wrong = check_value(output_schema(function), structured)
    if wrong is not None:
        message = f"What the function returned is not what its manifest says: {wrong}"
        return failure({"error_code": OUTPUT_INVALID, "message": message, "output": structured})
    links = [_link(url) for urls in result.files.values() for url in urls]
    warnings = [types.TextContent(text=f"Warning: {line}") for line in result.warnings]
    return types.CallToolResult(content=[_text(structured), *warnings, *links], structured_content=structured)


def failure(error: Mapping[str, Any]) -> types.CallToolResult:
    """Return an error as a tool's result: code, message and details as JSON that a model can read; its pointers are into the arguments."""
    return types.CallToolResult(content=[_text(cast("Mapping[str, Any]", _local(error)))], is_error=True)


def progress(data: object, last: float) -> tuple[float, float | None, str | None]:
    """Return a `progress` event's data as progress (always more than `last`), total and message."""
    said = cast("Mapping[str, Any]", data) if isinstance(data, dict) else {"message" if isinstance(data, str) else "progress": data}
    given = next((value for name in _PROGRESS if (value := _number(said.get(name))) is not None and value > last), None)
    message = said.get("message")
    return last + 1 if given is None else given, _number(said.get("total")), None if message is None else str(message)[:_TITLE]


def _tool(found: Published, function: Function) -> types.Tool:
    manifest = found.manifest
    described = f"{function.description[:_DESCRIPTION]}\n(Prefab {manifest.id} {manifest.version}, published by {found.prefab.owner})"
    return types.Tool(
        name=name_of(manifest, function),
        title=f"{manifest.name}: {function.name}"[:_TITLE],
        description=described,
        input_schema=input_schema(function),
        output_schema=output_schema(function),
        _meta={
            VERSION_KEY: manifest.version,
            "sandyard/publisher": found.prefab.owner,
            "sandyard/digest": f"sha256:{found.version.digest}",
        },
    )


def _newest(held: Iterable[str], alias: str) -> str | None:
    return None if aliases.is_exact(alias) else aliases.newest(held, alias)


def _takes_files(function: Function) -> bool:
    return any(not slot.output for slot in function.files)


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Many functions say `"error": null` where their manifest says that it is a string."""
    return {"anyOf": [dict(schema), {"type": "null"}]} if schema else {}


def _text(value: Mapping[str, Any]) -> types.TextContent:
    return types.TextContent(text=orjson.dumps(value).decode())


def _link(url: str) -> types.ResourceLink:
    name = url.rpartition("/")[2]
    return types.ResourceLink(uri=url, name=name, mime_type=mimetypes.guess_type(name)[0])


def _local(value: object) -> object:
    """Turn pointers into a run's body into pointers into the arguments."""
    if isinstance(value, str):
        return value.replace(f"{_AT}/parameters", "").replace(_AT, "")
    if isinstance(value, dict):
        return {name: _local(below) for name, below in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_local(below) for below in cast("list[object]", value)]
    return value


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
