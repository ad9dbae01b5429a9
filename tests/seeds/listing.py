"""Compare an interface listing with the code: names, kinds, parameters, defaults, annotations, fields, values, bases, docstrings.

Names that begin with an underscore are sketches of an inside, and are not compared. An annotation fits if callers who keep to the
listing are right: the code may take more, and return less, than is listed.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from types import ModuleType, TracebackType
from typing import Any

import pydantic
from pydantic.fields import FieldInfo
from starlette.requests import Request
from starlette.responses import Response

import ppio_sandbox.agent_runtime
from seeds import fitting, instances

Findings = Iterator[tuple[str, str]]
"""Pairs of the member (`Class.member.parameter`) and what is wrong with it."""

_MISSING = object()


def compare(source: str, module: str, owner: str | None = None) -> dict[str, str]:
    """Return what differs between a listing and `module`, by name; loose functions are methods of the class `owner`."""
    public = importlib.import_module(module)
    names = _names(public)
    found: list[tuple[str, str]] = []
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef():
                found += _class(getattr(public, node.name, None), node, names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() if owner is not None:
                found += _member(names[owner], node, names)
            case _:
                pass
    return dict(found)


def public_names(source: str) -> list[str]:
    """Return the names of a listing that `compare` looks at."""
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    return [node.name for node in nodes if node.name == "__init__" or node.name[0] != "_"]


def _names(module: ModuleType) -> dict[str, Any]:
    """Return the names that annotations and defaults may use: typing's, our packages', then the module's own before all."""
    names: dict[str, Any] = {name: getattr(typing, name) for name in vars(typing)["__all__"]}
    package = ppio_sandbox.agent_runtime
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        names |= vars(importlib.import_module(found.name))
    names |= {name: getattr(module, name) for name in vars(module)["__all__"]}
    own = {"BaseModel": pydantic.BaseModel, "Field": pydantic.Field, "Enum": Enum, "datetime": datetime}
    return names | own | {"Request": Request, "Response": Response, "TracebackType": TracebackType}


def _class(live: Any, node: ast.ClassDef, names: dict[str, Any]) -> Findings:
    if not inspect.isclass(live):
        yield node.name, "is missing"
        return
    if ast.get_docstring(node) and not live.__doc__:
        yield node.name, "has no docstring"
    for base in node.bases:
        if not issubclass(live, _value(base, names)):
            yield node.name, f"does not derive from {ast.unparse(base)}"
    for item in node.body:
        match item:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _member(live, item, names)
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield from _field(live, name, item, names)
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield from _constant(live, name, item.value, names)
            case ast.ClassDef(name="Config"):
                yield from _config(live, item, names)
            case _:
                pass


def _member(live: type, node: ast.FunctionDef | ast.AsyncFunctionDef, names: dict[str, Any]) -> Findings:
    place = f"{live.__name__}.{node.name}"
    if node.name.startswith("_") and not node.name.startswith("__"):
        return
    static = inspect.getattr_static(live, node.name, None)
    if static is None:
        yield place, "is missing"
        return
    is_property = any(ast.unparse(decorator) == "property" for decorator in node.decorator_list)
    if is_property != isinstance(static, property):
        yield place, "is not a property" if is_property else "is a property"
        return
    function: Any = static.fget if isinstance(static, property) else getattr(live, node.name)
    if ast.get_docstring(node) and not (function.__doc__ or node.name == "__init__"):
        yield place, "has no docstring"
    yield from _signature(place, function, node, names | {"Self": live}, bound=inspect.ismethod(function))
    if node.name == "__init__":
        yield from _attributes(live, node)


def _signature(place: str, function: Any, node: ast.FunctionDef | ast.AsyncFunctionDef, names: dict[str, Any], *, bound: bool) -> Findings:
    parameters = list(inspect.signature(function).parameters.values())
    hints = fitting.hints_of(function, names)
    listed = node.args.args[bound:]
    defaults = [_MISSING] * (len(node.args.args) - len(node.args.defaults)) + [_value(default, names) for default in node.args.defaults]
    for index, (argument, default) in enumerate(zip(listed, defaults[bound:], strict=True)):
        if argument.arg == "self" or node.name in ("__aenter__", "__aexit__"):
            continue
        live = next((p for p in parameters if p.name == argument.arg), None)
        if live is None:
            yield f"{place}({argument.arg})", "is missing"
        elif live.kind is not live.KEYWORD_ONLY and index != parameters.index(live):
            yield f"{place}({argument.arg})", f"is in another place: {inspect.signature(function)}"
        elif default is not _MISSING and live.default != default:
            yield f"{place}({argument.arg})", f"has the default {live.default!r}, not {default!r}"
        elif argument.annotation and not fitting.takes(hints.get(argument.arg, Any), _annotation(argument.annotation, names)):
            yield f"{place}({argument.arg})", f"is annotated {hints[argument.arg]}, not {ast.unparse(argument.annotation)}"
    needed = {p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    if extra := needed - {argument.arg for argument in node.args.args}:
        yield place, f"needs more: {', '.join(sorted(extra))}"
    yield from _returned(place, function, node, hints, names)


def _returned(
    place: str, function: Any, node: ast.FunctionDef | ast.AsyncFunctionDef, hints: dict[str, Any], names: dict[str, Any]
) -> Findings:
    given = hints.get("return", Any)
    is_async = isinstance(node, ast.AsyncFunctionDef)
    if is_async and not inspect.iscoroutinefunction(function) and not fitting.can_be_awaited(given):
        yield place, "cannot be awaited"
    if not is_async and inspect.iscoroutinefunction(function):
        yield place, "must be awaited"
    if node.returns and not fitting.takes(_annotation(node.returns, names), given):
        yield place, f"returns {given}, not {ast.unparse(node.returns)}"


def _attributes(live: type, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Findings:
    """What the listing's constructor sets on `self`, an instance must have."""
    wanted = [
        target.attr
        for statement in ast.walk(node)
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self" and not target.attr.startswith("_")
    ]
    instance = instances.make(live) if wanted else None
    for name in wanted:
        if not hasattr(instance, name):
            yield f"{live.__name__}.{name}", "is missing on instances"


def _field(live: Any, name: str, node: ast.AnnAssign, names: dict[str, Any]) -> Findings:
    place = f"{live.__name__}.{name}"
    found: FieldInfo | None = live.model_fields.get(name)
    if found is None:
        yield place, "is missing"
        return
    listed = _field_info(node, names)
    if listed.is_required() != found.is_required():
        yield place, "is required" if found.is_required() else "is optional"
    elif not listed.is_required() and _default(listed) != _default(found):
        yield place, f"has the default {_default(found)!r}, not {_default(listed)!r}"
    if not fitting.takes(found.annotation, _annotation(node.annotation, names)):
        yield place, f"is annotated {found.annotation}, not {ast.unparse(node.annotation)}"
    bounds = [bound for bound in listed.metadata if hasattr(bound, "ge") or hasattr(bound, "le")]
    if any(bound not in found.metadata for bound in bounds):
        yield place, f"is bounded by {found.metadata}, not {bounds}"


def _field_info(node: ast.AnnAssign, names: dict[str, Any]) -> FieldInfo:
    if node.value is None:
        return FieldInfo()
    value = _value(node.value, names)
    return value if isinstance(value, FieldInfo) else FieldInfo(default=value)


def _default(info: FieldInfo) -> Any:
    return info.get_default(call_default_factory=True, validated_data={})


def _constant(live: Any, name: str, value: ast.expr, names: dict[str, Any]) -> Findings:
    found = getattr(live, name, _MISSING)
    listed = _value(value, names)
    if found is _MISSING or getattr(found, "value", found) != listed:
        yield f"{live.__name__}.{name}", "is missing" if found is _MISSING else f"is {found!r}, not {listed!r}"


def _config(live: Any, node: ast.ClassDef, names: dict[str, Any]) -> Findings:
    for item in node.body:
        if isinstance(item, ast.Assign):
            name = ast.unparse(item.targets[0])
            if live.model_config.get(name) != _value(item.value, names):
                yield f"{live.__name__}.Config.{name}", f"is {live.model_config.get(name)!r}, not {ast.unparse(item.value)}"


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    return eval(ast.unparse(node), dict(names))  # (defaults and annotations of our own specification)


def _annotation(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return the type that an annotation means; a quoted one is its content."""
    value = _value(node, names)
    return _value(ast.parse(value, mode="eval").body, names) if isinstance(value, str) else value
