"""Finding, reading and updating `agent.yaml`; what people wrote in it, comments included, is kept byte for byte."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from ppio_sandbox.cli import places
from ppio_sandbox.cli.output import UsageError
from sandkit.wire.manifest import MANIFEST_NAMES, AgentConfig, mistake

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest and where it stands."""

    path: Path
    manifest: AgentConfig

    @property
    def target(self) -> str:
        """What to call: the template that was deployed, else the agent's name."""
        status = self.manifest.status
        return (status.template_id if status else None) or self.manifest.metadata.name


def find(directory: Path, config: Path | None = None) -> Path:
    """Return the manifest of a directory, or the one that `config` names.

    Raises:
        UsageError: there is none.
    """
    if config is not None:
        if not config.is_file():
            raise UsageError(f"there is no file {config}")
        return config
    for name in MANIFEST_NAMES:
        if (directory / name).is_file():
            return directory / name
    raise UsageError(f"there is no {MANIFEST_NAMES[0]} in {directory}: `ppio-sandbox-cli agent init` writes one")


def load(path: Path) -> ManifestFile:
    """Read a manifest.

    Raises:
        UsageError: it is not YAML, or not a manifest; the sentence names each mistake with its line and column.
    """
    return ManifestFile(path, parsed(path, _text_of(path)))


def parsed(path: Path, text: str) -> AgentConfig:
    """Return the manifest that `text`, of the file `path`, is. Raises as `load`."""
    try:
        with _as_yaml(path):
            return AgentConfig.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        wrong = "\n".join(_mistake(path, text, item) for item in error.errors())
        raise UsageError(f"{path} is not a manifest:\n{wrong}") from error


def change(path: Path, values: Mapping[tuple[str, ...], object]) -> AgentConfig:
    """Write values into the manifest, and nothing else; return what it then says.

    Raises:
        UsageError: with them it is no manifest, or its form is too unusual; the file is untouched then.
    """
    before = _text_of(path)
    try:
        with _as_yaml(path):
            after = places.with_values(before, values)
    except ValueError as error:
        raise UsageError(f"{path} has a form that is too unusual to be changed by a program: {error}") from error
    manifest = parsed(path, after)
    path.write_text(after, encoding="utf-8")
    return manifest


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}") from error


@contextmanager
def _as_yaml(path: Path) -> Generator[None]:
    """Say where the text of `path`, which is read as YAML, is none."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise UsageError(f"{path} is not YAML:\n{path}{where}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {error}") from error


def _mistake(path: Path, text: str, item: ErrorDetails) -> str:
    place = places.place_of(text, item["loc"])
    field = ".".join(str(key) for key in item["loc"]) or "the file"
    return f"{path}:{place.line}:{place.column}: {field}: {mistake(item)}"


def write_status(path: Path, status: Mapping[str, Any]) -> bool:
    """Replace the `status:` section, or add it at the end; return False, with the file untouched, where that cannot be done safely."""
    before = path.read_text(encoding="utf-8")
    after = with_status(before, status)
    if yaml.safe_load(after) != {**yaml.safe_load(before), "status": dict(status)}:
        return False
    path.write_text(after, encoding="utf-8")
    return True


def with_status(text: str, status: Mapping[str, Any]) -> str:
    """Return the text with its top-level `status:` section replaced or added; all other lines stay as they are."""
    section = yaml.safe_dump({"status": dict(status)}, sort_keys=False, allow_unicode=True).splitlines(keepends=True)
    lines = text.splitlines(keepends=True)
    start = next((n for n, line in enumerate(lines) if line.startswith("status:")), None)
    if start is None:
        ending = "" if not text or text.endswith("\n") else "\n"
        return text + ending + "\n" + "".join(section)
    end = next((n for n in range(start + 1, len(lines)) if _begins_another(lines[n])), len(lines))
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return "".join([*lines[:start], *section, *lines[end:]])


def _begins_another(line: str) -> bool:
    return bool(line.strip()) and not line[0].isspace()
