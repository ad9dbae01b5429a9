"""Reading `agentapp.yaml`: variables are put in, and each mistake is told with its line, its column and what was meant."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import yaml
from pydantic import ValidationError

from agentapp.config.model import NAMED, PLAIN, AppConfig
from agentapp.errors import ConfigError
from ppio_sandbox.cli import places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

CONFIG_NAME = "agentapp.yaml"
Keys = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|(?P<wrong>\{[^}]*\}?))")
_DEFERRED_DEPTH = 2


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing that is wrong, and where: `keys` lead to it."""

    keys: Keys
    message: str

    @property
    def place(self) -> str:
        """The keys as people write them."""
        return ".".join(map(str, self.keys)) or "the file"


def load(path: Path, environment: Mapping[str, str], *, defer: bool = False) -> AppConfig:
    """Read the file. With `defer`, models and MCP servers whose variables are not set are left for later: `AppConfig.missing` has them.

    Raises:
        ConfigError: it cannot be read or has mistakes; the message has a line for each, `file:line:column: key: what`.
    """
    try:
        text = path.read_text(encoding="utf-8")
        told: Any = yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}; `agentscope init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{path}{where}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    mistakes = list(_repeated(text))
    missing: list[Mistake] = []
    told = _filled({} if told is None else told, (), environment, mistakes, missing)
    later = [one for one in missing if defer and len(one.keys) >= _DEFERRED_DEPTH and one.keys[0] in NAMED]
    config = _validated(told, mistakes + [one for one in missing if one not in later], path)
    if isinstance(config, AppConfig):
        return config.model_copy(update={"missing": {".".join(map(str, one.keys[:2])): one.message for one in later}})
    lines = sorted((places.place_of(text, mistake.keys), mistake) for mistake in config)
    raise ConfigError("\n".join(f"{path}:{at.line}:{at.column}: {one.place}: {one.message}" for at, one in lines))


def _validated(told: Any, mistakes: Sequence[Mistake], path: Path) -> AppConfig | Sequence[Mistake]:
    if not isinstance(told, dict):
        return [Mistake((), "the file is not a mapping of keys to values")]
    fields = cast("dict[str, Any]", told)
    if "missing" in fields:
        return [*mistakes, Mistake(("missing",), "there is no such key")]
    name = re.sub(r"[^\w.:@-]", "-", path.resolve().parent.name, flags=re.ASCII)[:128] or "app"
    try:
        config = AppConfig.model_validate({"name": name, **fields})
    except ValidationError as error:
        return [*mistakes, *(_explained(fields, detail) for detail in error.errors(include_url=False, include_input=False))]
    return mistakes or config


def _explained(told: Mapping[str, Any], detail: ErrorDetails) -> Mistake:
    """Return a mistake of the schema in words, with a guess at what was meant."""
    keys = tuple(key for key in detail["loc"] if key != "[key]")
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = list(_known(keys[:-1]))
        message = f"there is no such key{_guess(str(keys[-1]), known)}; there are {', '.join(known)}"
    elif detail["type"] == "literal_error":
        choices = re.findall(r"'([^']+)'", str(detail.get("ctx", {}).get("expected", "")))
        message = f"{_lower(message)}{_guess(str(_value(told, keys)), choices)}"
    elif detail["type"] == "missing":
        message = "this key is needed"
    return Mistake(keys, _lower(message))


def _known(keys: Keys) -> Iterator[str]:
    """Yield the keys that may stand below `keys`."""
    section: Any = AppConfig
    if keys:
        section = NAMED.get(str(keys[0])) or PLAIN.get(str(keys[0]))
    if section is not None:
        yield from (name for name in section.model_fields if name != "missing")


def _guess(word: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(word.lower().replace("-", "_"), choices, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _value(told: Any, keys: Keys) -> Any:
    for key in keys:
        told = told[key]
    return told


def _filled(value: Any, keys: Keys, environment: Mapping[str, str], mistakes: list[Mistake], missing: list[Mistake]) -> Any:
    """Return the value with variables put in, at any depth; what is wrong is added to the lists."""
    if isinstance(value, dict):
        mapping = cast("dict[Any, Any]", value)
        return {key: _filled(part, (*keys, str(key)), environment, mistakes, missing) for key, part in mapping.items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_filled(part, (*keys, index), environment, mistakes, missing) for index, part in enumerate(items)]
    if not isinstance(value, str) or "$" not in value:
        return value

    def put(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if match["wrong"]:
            mistakes.append(Mistake(keys, f"${match['wrong']} is no variable; write ${{NAME}} or ${{NAME:-default}}"))
        if name is None:
            return match[0] if match["wrong"] else "$"
        told = environment.get(name)
        if default is not None:
            return told or default
        if told is None:
            near = difflib.get_close_matches(name, environment, n=1)
            missing.append(Mistake(keys, f"the variable {name} is not set{f' (did you mean {near[0]}?)' if near else ''}"))
            return match[0]
        return told

    return _VARIABLE.sub(put, value)


def _repeated(text: str) -> Iterator[Mistake]:
    """Yield keys that stand twice in one mapping: YAML would silently take the last."""
    root = cast("yaml.Node | None", yaml.compose(text, yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]
    waiting: list[tuple[Keys, yaml.Node]] = [] if root is None else [((), root)]
    while waiting:
        keys, node = waiting.pop()
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: set[str] = set()
        for key_node, value_node in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            key = str(key_node.value)
            if key in seen:
                yield Mistake((*keys, key), f"this key stands twice, again in line {key_node.start_mark.line + 1}")
            seen.add(key)
            waiting.append(((*keys, key), value_node))
