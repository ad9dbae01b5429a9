"""Reads `prefab-manifest.json` (schema version 1.0): what is wrong is named by its JSON pointer, what can be relaxed is a warning."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sandkit.wire.gateway import PACKAGE_INVALID, Refusal
from sandyard.domain.prefabs import (
    IDENTIFIER,
    PREFAB_ID,
    SECRET_NAME,
    VERSION,
    FileSlot,
    Function,
    Manifest,
    Parameter,
    SecretNeed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE_NAME = "prefab-manifest.json"
RESERVED_SECRETS = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|PWD|IFS|ENV|(?:LD|LC|BASH)_.*|PYTHON.*|PREFAB_(?:HOME|ENTRY)|GATEWAY_BASE_URL|X_INTERNAL_TOKEN"
    r"|(?:HTTPS?|NO|ALL)_PROXY|SSL_CERT_(?:FILE|DIR)"
)
"""Names that a secret may not have: they would change how the function's process itself runs."""
_TYPES = ("string", "number", "integer", "boolean", "object", "array")
_FILE_TYPES = ("InputFile", "OutputFile")
_ENTRY = re.compile(r"[A-Za-z_]\w*(?:/[A-Za-z_]\w*)*\.py", re.ASCII)
_FILE_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|k|M|G)?")
_UNITS = {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}
_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
_TEXT = 4000
_FUNCTIONS = 100
_PROBLEMS = 50
_KEPT = ("enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems", "format")


@dataclass(slots=True)
class _Notes:
    problems: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    warnings: list[str] = field(default_factory=list[str])

    def wrong(self, pointer: str, message: str) -> None:
        self.problems.append({"pointer": pointer, "message": message})

    def warn(self, pointer: str, message: str) -> None:
        self.warnings.append(f"{pointer}: {message}")


def read_manifest(document: object) -> Manifest:
    """Return the checked manifest, with a warning for all that was relaxed.

    Raises:
        Refusal: PACKAGE_INVALID; `pointer` names the first thing that is wrong, `problems` all of them.
    """
    notes = _Notes()
    top = _mapping(document, "", notes)
    manifest = _manifest(top, notes)
    refuse(notes.problems)
    return manifest


def refuse(problems: Sequence[Mapping[str, str]]) -> None:
    """Raise the refusal of a package with these problems (`pointer`, `message`), if there are any."""
    if problems:
        first = problems[0]
        message = f"{FILE_NAME} {first['pointer'] or '/'}: {first['message']}"
        raise Refusal(PACKAGE_INVALID, message, pointer=first["pointer"], problems=list(problems)[:_PROBLEMS])


def _manifest(top: Mapping[str, Any], notes: _Notes) -> Manifest:
    if top.get("schema_version") != "1.0":
        notes.wrong("/schema_version", 'must be "1.0"')
    id_, version, entry = (
        _text(top, "id", "", notes),
        _text(top, "version", "", notes),
        _text(top, "entry_point", "", notes) or "src/main.py",
    )
    if not PREFAB_ID.fullmatch(id_):
        notes.wrong("/id", "must be 3 to 64 lower-case letters, digits and single hyphens")
    if not VERSION.fullmatch(version):
        notes.wrong("/version", "must be three numbers such as 1.0.2, without leading zeros")
    if not _ENTRY.fullmatch(entry):
        notes.wrong("/entry_point", "must be a Python file of the package such as src/main.py")
    cpus, memory = _resources(top, notes)
    return Manifest(
        id=id_,
        version=version,
        name=_text(top, "name", "", notes) or id_,
        description=_text(top, "description", "", notes),
        functions=_functions(top.get("functions"), notes),
        tags=tuple(str(tag)[:100] for tag in _sequence(top.get("tags", []), "/tags", notes)),
        author=_text(top, "author", "", notes),
        entry_point=entry,
        cpus=cpus,
        memory_bytes=memory,
        prefabs=_called(top, notes),
        warnings=tuple(notes.warnings),
    )


def _called(top: Mapping[str, Any], notes: _Notes) -> tuple[str, ...]:
    """Return the ids of the prefabs that this one calls."""
    found = tuple(str(item) for item in _sequence(top.get("prefabs", []), "/prefabs", notes))
    for place, item in enumerate(found):
        if not PREFAB_ID.fullmatch(item):
            notes.wrong(f"/prefabs/{place}", "must be the id of a prefab")
    return found


def _resources(top: Mapping[str, Any], notes: _Notes) -> tuple[float, int]:
    wanted = _mapping(top.get("execution_environment", {}), "/execution_environment", notes)
    cpu = _CPU.fullmatch(str(wanted.get("cpu", "500m")))
    memory = _MEMORY.fullmatch(str(wanted.get("memory", "256Mi")))
    if cpu is None:
        notes.warn("/execution_environment/cpu", "is no amount such as 500m; 500m is taken")
    if memory is None:
        notes.warn("/execution_environment/memory", "is no amount such as 256Mi; 256Mi is taken")
    cpus = float(cpu[1]) / (1000 if cpu[2] else 1) if cpu else 0.5
    return cpus, max(2**24, int(float(memory[1]) * _UNITS[memory[2]])) if memory else 256 * 2**20


def _functions(value: object, notes: _Notes) -> tuple[Function, ...]:
    found = _sequence(value, "/functions", notes)
    if not 0 < len(found) <= _FUNCTIONS:
        notes.wrong("/functions", f"must name 1 to {_FUNCTIONS} functions")
    functions = tuple(_function(item, f"/functions/{place}", notes) for place, item in enumerate(found[:_FUNCTIONS]))
    _unique([function.name for function in functions], "/functions", notes)
    return functions


def _function(value: object, at: str, notes: _Notes) -> Function:
    item = _mapping(value, at, notes)
    name = _name(item, at, notes)
    if name.startswith("_"):
        notes.wrong(f"{at}/name", "must not begin with an underscore")
    parameters = tuple(
        _parameter(parameter, f"{at}/parameters/{place}", notes)
        for place, parameter in enumerate(_sequence(item.get("parameters", []), f"{at}/parameters", notes))
    )
    _unique([parameter.name for parameter in parameters], f"{at}/parameters", notes)
    files = _mapping(item.get("files") or {}, f"{at}/files", notes)
    secrets = _sequence(item.get("secrets") or [], f"{at}/secrets", notes)
    return Function(
        name=name,
        description=_text(item, "description", at, notes),
        parameters=parameters,
        files=tuple(_slot(key, slot, f"{at}/files/{_escape(key)}", notes) for key, slot in files.items()),
        secrets=tuple(_secret(secret, f"{at}/secrets/{place}", notes) for place, secret in enumerate(secrets)),
        streaming=item.get("streaming") is True,
        returns=_returns(item.get("returns"), f"{at}/returns", notes),
    )


def _parameter(value: object, at: str, notes: _Notes) -> Parameter:
    item = _mapping(value, at, notes)
    name = _name(item, at, notes)
    schema = _schema(item, at, notes)
    if "default" in item:
        schema["default"] = item["default"]
    return Parameter(
        name=name,
        description=_text(item, "description", at, notes),
        required=item.get("required", "default" not in item) is True and "default" not in item,
        schema=schema,
    )


def _schema(item: Mapping[str, Any], at: str, notes: _Notes) -> dict[str, Any]:
    """Turn the manifest's way of describing a value into JSON Schema 2020-12."""
    kind = item.get("type")
    if kind in _FILE_TYPES:
        notes.warn(f"{at}/type", f"{kind} as a parameter's type is the old form; it is taken as a string")
        kind = "string"
    if kind not in _TYPES:
        notes.wrong(f"{at}/type", f"must be one of {', '.join(_TYPES)}")
        return {}
    schema: dict[str, Any] = {"type": kind} | {name: item[name] for name in _KEPT if name in item}
    if "description" in item:
        schema["description"] = str(item["description"])[:_TEXT]
    if "items" in item:
        schema["items"] = _schema(_mapping(item["items"], f"{at}/items", notes), f"{at}/items", notes)
    if "properties" in item:
        properties = _mapping(item["properties"], f"{at}/properties", notes)
        schema["properties"] = {
            name: _schema(_mapping(below, f"{at}/properties/{_escape(name)}", notes), f"{at}/properties/{_escape(name)}", notes)
            for name, below in properties.items()
        }
    _bounds(schema, "minItems", "maxItems", at, notes)
    _bounds(schema, "minimum", "maximum", at, notes)
    _bounds(schema, "minLength", "maxLength", at, notes)
    return schema


def _bounds(schema: dict[str, Any], least: str, most: str, at: str, notes: _Notes) -> None:
    for name in (least, most):
        if name in schema and (isinstance(schema[name], bool) or not isinstance(schema[name], int | float)):
            notes.wrong(f"{at}/{name}", "must be a number")
            del schema[name]
    if least in schema and most in schema and schema[least] > schema[most]:
        notes.warn(f"{at}/{most}", f"is below {least}; it is not held")
        del schema[most]


def _slot(key: str, value: object, at: str, notes: _Notes) -> FileSlot:
    item = _mapping(value, at, notes)
    if not _FILE_KEY.fullmatch(key):
        notes.wrong(at, "a files key must be 1 to 64 letters, digits, - and _")
    kind: object = item.get("type")
    if kind == "array":
        kind = _mapping(item.get("items", {}), f"{at}/items", notes).get("type")
    elif kind in _FILE_TYPES:
        notes.warn(f"{at}/type", 'should be "array" of items of that type; it is taken as that')
    if kind not in _FILE_TYPES:
        notes.wrong(f"{at}/items/type", "must be InputFile or OutputFile")
    bounds: dict[str, Any] = {name: item[name] for name in ("minItems", "maxItems") if name in item}
    _bounds(bounds, "minItems", "maxItems", at, notes)
    output = kind == "OutputFile"
    required = item.get("required", not output) is True
    return FileSlot(
        key=key,
        description=str(item.get("description", ""))[:_TEXT],
        output=output,
        required=required and not output,
        least=int(bounds.get("minItems", 1 if required and not output else 0)),
        most=int(bounds["maxItems"]) if "maxItems" in bounds else None,
    )


def _secret(value: object, at: str, notes: _Notes) -> SecretNeed:
    item = _mapping(value, at, notes)
    name = _text(item, "name", at, notes)
    if not SECRET_NAME.fullmatch(name):
        notes.wrong(f"{at}/name", "must be capital letters, digits and underscores")
    elif RESERVED_SECRETS.fullmatch(name):
        notes.wrong(f"{at}/name", f"{name} is reserved: it would change how the function's process runs")
    return SecretNeed(
        name=name,
        description=_text(item, "description", at, notes),
        instructions=_text(item, "instructions", at, notes),
        required=item.get("required", True) is True,
    )


def _returns(value: object, at: str, notes: _Notes) -> dict[str, Any]:
    if value is None:
        return {"type": "object"}
    item = _mapping(value, at, notes)
    schema: dict[str, Any] = {"type": "object"}
    properties = item.get("properties")
    if properties:
        quiet = _Notes()  # what a function returns is told to readers, and refused to nobody
        schema["properties"] = {
            name: _schema(cast("dict[str, Any]", below), "", quiet) if isinstance(below, dict) else {}
            for name, below in _mapping(properties, f"{at}/properties", notes).items()
        }
    if "description" in item:
        schema["description"] = str(item["description"])[:_TEXT]
    return schema


def _name(item: Mapping[str, Any], at: str, notes: _Notes) -> str:
    name = _text(item, "name", at, notes)
    if not IDENTIFIER.fullmatch(name):
        notes.wrong(f"{at}/name", "must be a Python name of at most 64 letters, digits and underscores")
    return name


def _text(item: Mapping[str, Any], name: str, at: str, notes: _Notes) -> str:
    value = item.get(name, "")
    if not isinstance(value, str):
        notes.wrong(f"{at}/{name}", "must be a string")
        return ""
    if len(value) > _TEXT:
        notes.warn(f"{at}/{name}", f"is cut to {_TEXT} characters")
    return value[:_TEXT]


def _mapping(value: object, at: str, notes: _Notes) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    notes.wrong(at, "must be an object")
    return {}


def _sequence(value: object, at: str, notes: _Notes) -> list[Any]:
    if isinstance(value, list):
        return cast("list[Any]", value)
    notes.wrong(at, "must be an array")
    return []


def _unique(names: Sequence[str], at: str, notes: _Notes) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            notes.wrong(f"{at}/{place}/name", f"{name!r} is there twice")


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
