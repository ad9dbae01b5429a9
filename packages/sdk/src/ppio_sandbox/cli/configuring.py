"""`agent configure`: change the manifest, by options or by questions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from ppio_sandbox.cli import manifest_file
from ppio_sandbox.cli.output import UsageError, give_json, listening, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FIELDS: Mapping[tuple[str, ...], str] = {
    ("metadata", "name"): "name",
    ("metadata", "version"): "version",
    ("metadata", "author"): "author (e-mail address)",
    ("metadata", "description"): "description",
    ("spec", "entrypoint"): "entrypoint",
    ("spec", "runtime", "timeout"): "seconds to start in",
    ("spec", "runtime", "memory_limit"): "memory limit",
    ("spec", "runtime", "cpu_limit"): "CPU limit",
}
"""Where an option's value goes, in the options' order, and how it is asked for."""


async def configure(directory: Path, config: Path | None, options: Sequence[object], *, as_json: bool) -> None:
    """Write the options that were given (in the order of `FIELDS`) into the manifest, or else the answers of people."""
    path = manifest_file.find(directory, config)
    values = {keys: value for keys, value in zip(FIELDS, options, strict=True) if value is not None}
    if not values:
        if not sys.stdin.isatty():
            raise UsageError("say what to change by options (see --help); questions are asked on a terminal only")
        with listening():
            values = _asked(manifest_file.load(path).manifest.as_dict())
    manifest = manifest_file.change(path, values)
    if as_json:
        give_json(manifest.as_dict())
    else:
        say(f"{path}: {', '.join('.'.join(keys) for keys in values) or 'nothing'} changed")


def _asked(manifest: Mapping[str, Any]) -> dict[tuple[str, ...], object]:
    """Ask for each field, with what it is now as the answer of an empty line; return what is different then."""
    answers: dict[tuple[str, ...], object] = {}
    for keys, question in FIELDS.items():
        now = _value(manifest, keys)
        kind = int if keys[-1] == "timeout" else str
        answer = typer.prompt(question, default="" if now is None else now, type=kind if now is not None else str, err=True)
        if answer not in (now, ""):
            answers[keys] = _number(answer) if kind is int else answer
    return answers


def _number(answer: object) -> object:
    """Return a number where it is one; else the text, which the manifest's rules then refuse by line and column."""
    return int(answer) if isinstance(answer, str) and answer.isdigit() else answer


def _value(values: Mapping[str, Any], keys: Sequence[str]) -> Any:
    found: Any = values
    for key in keys:
        found = found.get(key) if found is not None else None
    return found
