"""Static checks of an unpacked prefab: the manifest against the source, which is parsed and never run, and against its metadata."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import replace
from email.parser import HeaderParser
from typing import TYPE_CHECKING, Any, cast

from packaging.requirements import InvalidRequirement, Requirement

from sandyard.services.prefabs.manifests import read_manifest, refuse
from sandyard.services.prefabs.schemas import check_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sandyard.domain.prefabs import Function, Manifest

_SOURCE_BYTES = 4 * 1024 * 1024
_ABSENT = object()
Problems = list[dict[str, str]]


def check(directory: Path, document: Any) -> Manifest:
    """Return the manifest of a prefab's directory, with warnings. Blocking: use a thread.

    Raises:
        Refusal: PACKAGE_INVALID with `pointer` and `problems`.
    """
    manifest = read_manifest(document)
    problems: Problems = []
    warnings = list(manifest.warnings)
    _check_metadata(directory, manifest, problems)
    functions = _definitions(directory / manifest.entry_point, manifest, problems)
    for place, function in enumerate(manifest.functions):
        at = f"/functions/{place}"
        trouble = check_schema(function)
        if trouble:
            problems.append({"pointer": f"{at}/parameters", "message": f"leads to no usable JSON Schema: {trouble}"})
        found = functions.get(function.name)
        if functions and found is None:
            problems.append({"pointer": f"{at}/name", "message": f"{manifest.entry_point} defines no function {function.name!r}"})
        elif found is not None:
            _check_function(function, found, at, problems, warnings)
    refuse(problems)
    return replace(manifest, warnings=tuple(warnings))


def requirements(directory: Path) -> tuple[str, ...]:
    """Return what the prefab needs: its wheel's `Requires-Dist`, or `project.dependencies` of its pyproject.toml.

    Raises:
        Refusal: PACKAGE_INVALID; a line is no requirement.
    """
    metadata = _wheel_metadata(directory)
    lines: Any = metadata.get_all("Requires-Dist", []) if metadata is not None else _project(directory).get("dependencies", [])
    kept: list[str] = []
    for line in cast("list[Any]", lines) if isinstance(lines, list) else []:
        try:
            requirement = Requirement(str(line))
        except InvalidRequirement as error:
            refuse([{"pointer": "/dependencies_file", "message": f"{str(line)[:200]!r} is no requirement: {error}"}])
            raise AssertionError from None
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            kept.append(str(requirement))
    return tuple(kept)


def _check_metadata(directory: Path, manifest: Manifest, problems: Problems) -> None:
    """The version stands in the manifest, in pyproject.toml and in a wheel's metadata: it must be the same."""
    metadata = _wheel_metadata(directory)
    stated = {"pyproject.toml": _project(directory).get("version"), "the wheel's METADATA": metadata and metadata.get("Version")}
    for where, version in stated.items():
        if isinstance(version, str) and version != manifest.version:
            problems.append({"pointer": "/version", "message": f"is {manifest.version}, but {where} says {version}"})


def _definitions(path: Path, manifest: Manifest, problems: Problems) -> Mapping[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    if not path.is_file() or path.stat().st_size > _SOURCE_BYTES:
        problems.append({"pointer": "/entry_point", "message": f"the package has no file {manifest.entry_point} of a usual size"})
        return {}
    try:
        tree = ast.parse(path.read_bytes(), manifest.entry_point)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problems.append({"pointer": "/entry_point", "message": f"{manifest.entry_point} is no Python source: {error}"})
        return {}
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _check_function(
    function: Function, found: ast.FunctionDef | ast.AsyncFunctionDef, at: str, problems: Problems, warnings: list[str]
) -> None:
    """Compare names, which of them have defaults, and the defaults that are literals."""
    arguments = found.args
    taken = [argument.arg for argument in (*arguments.args, *arguments.kwonlyargs)]
    defaults = _defaults(arguments)
    named = [parameter.name for parameter in function.parameters]
    for place, parameter in enumerate(function.parameters):
        pointer = f"{at}/parameters/{place}"
        if parameter.name not in taken and arguments.kwarg is None:
            problems.append({"pointer": f"{pointer}/name", "message": f"{function.name}() takes no parameter {parameter.name!r}"})
        if parameter.name in taken and not parameter.required and parameter.name not in defaults:
            problems.append(
                {"pointer": f"{pointer}/required", "message": f"{parameter.name!r} is not required, but has no default in the source"}
            )
        default = defaults.get(parameter.name, _ABSENT)
        if "default" in parameter.schema and default is not _ABSENT and parameter.schema["default"] != default:
            problems.append(
                {"pointer": f"{pointer}/default", "message": f"is {parameter.schema['default']!r}, but {default!r} in the source"}
            )
    problems.extend(
        {"pointer": f"{at}/parameters", "message": f"{function.name}() needs {name!r}, which the manifest does not name"}
        for name in taken
        if name not in named and name not in defaults
    )
    if arguments.posonlyargs:
        problems.append({"pointer": f"{at}/parameters", "message": f"{function.name}() takes positional-only parameters"})
    if _yields(found) and not function.streaming:
        problems.append({"pointer": f"{at}/streaming", "message": f"{function.name}() yields, so it must be true"})
    if function.streaming and not _yields(found):
        warnings.append(f"{at}/streaming: {function.name}() does not yield itself; it must return a generator")


def _defaults(arguments: ast.arguments) -> dict[str, Any]:
    """Return the defaults by name; one that is no literal is `_ABSENT`."""
    positional = arguments.args[len(arguments.args) - len(arguments.defaults) :] if arguments.defaults else []
    pairs = [*zip(positional, arguments.defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return {argument.arg: _literal(node) for argument, node in pairs if node is not None}


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _ABSENT


def _yields(found: ast.AST) -> bool:
    """Whether the function itself yields, not one inside it."""
    pending: list[ast.AST] = list(ast.iter_child_nodes(found))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            pending.extend(ast.iter_child_nodes(node))
    return False


def _wheel_metadata(directory: Path) -> Any:
    path = next(iter(sorted(directory.glob("*.dist-info/METADATA"))), None)
    return None if path is None else HeaderParser().parsestr(path.read_text(encoding="utf-8", errors="replace"), headersonly=True)


def _project(directory: Path) -> Mapping[str, Any]:
    path = directory / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        project: object = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        refuse([{"pointer": "/dependencies_file", "message": f"pyproject.toml cannot be read: {error}"}])
        return {}
    return cast("dict[str, Any]", project) if isinstance(project, dict) else {}


def summary(problems: Sequence[Mapping[str, str]]) -> str:
    """Return problems as lines for people."""
    return "\n".join(f"{problem['pointer'] or '/'}: {problem['message']}" for problem in problems)
