"""What the SDK's users may rely on, as text: names, signatures, defaults, fields, values, base classes. Of what another project's package
gives under a name of ours the name alone: its signatures are that project's.

`python -m support.surface` in `tests` writes the record anew; do that when a change is meant, and look at what has changed.
"""

from __future__ import annotations

import importlib
import inspect
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

RECORD = Path(__file__).parents[1] / "unit" / "public_surface.txt"

MODULES = (
    "ppio_sandbox",
    "ppio_sandbox.agent_runtime",
    "ppio_sandbox.agent_runtime.client",
    "ppio_sandbox.agent_runtime.exceptions",
    "ppio_sandbox.agent_runtime.runtime",
    "ppio_agent_runtime",
    "ppio_agent_runtime.client",
    "ppio_agent_runtime.exceptions",
    "ppio_agent_runtime.runtime",
    "ppio_agent_sandbox",
    "ppio_agent_sandbox.agent_runtime",
    "ppio_agent_sandbox.client",
    "gateway_sdk",
    "gateway_sdk.exceptions",
)
REEXPORTING = ("ppio_sandbox.core", "ppio_sandbox.code_interpreter")
"""Their names are all that another package exports, and ours in place of some."""
OURS = ("ppio_", "gateway_sdk", "sandkit")


def surface() -> list[str]:
    """Return the lines of the surface as it is: which name is what in each module, then each thing once."""
    lines: list[str] = []
    things: dict[str, Any] = {}
    for name in MODULES + REEXPORTING:
        for public, thing in _exported(importlib.import_module(name)):
            if name in REEXPORTING and not _is_ours(thing):
                lines.append(f"{name}.{public} is another's")
                continue
            lines.append(f"{name}.{public} is {_name(thing)}")
            things[_name(thing)] = thing
    for name, thing in sorted(things.items()):
        lines += ["", *_described(name, thing)]
    return lines


def _exported(module: ModuleType) -> list[tuple[str, Any]]:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    found = [(name, getattr(module, name)) for name in sorted(names)]
    return [(name, thing) for name, thing in found if not inspect.ismodule(thing)]


def _is_ours(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).startswith(OURS)


def _name(thing: Any) -> str:
    qualified = getattr(thing, "__qualname__", None)
    home = str(getattr(thing, "__module__", "")).partition(".")[0]
    if home.startswith("e2b"):
        return f"{home}.{qualified}"  # where it lies in there may change
    return f"{thing.__module__}.{qualified}" if qualified else repr(thing)


def _described(name: str, thing: Any) -> Iterator[str]:
    if not inspect.isclass(thing):
        yield f"{name}{_signature(thing)}" if callable(thing) else f"{name}: {thing!r}"
        return
    yield f"class {name}({', '.join(_name(base) for base in thing.__bases__)})"
    if issubclass(thing, Enum):
        yield from (f"    {member.name} = {member.value!r}" for member in thing)
    elif issubclass(thing, BaseModel):
        yield from (
            f"    {field}: {inspect.formatannotation(info.annotation)} = {_default(info)}" for field, info in thing.model_fields.items()
        )
    elif _is_ours(thing.__init__):
        yield f"    {_signature(thing)}"
    yield from _members(thing)


def _members(kind: type) -> Iterator[str]:
    """Yield methods, properties and attributes, also those that come from base classes of ours."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith(OURS):
            found |= {name: value for name, value in vars(base).items() if _is_public(name, value)}
    for name, value in sorted(found.items()):
        if isinstance(value, classmethod | staticmethod):
            yield f"    on the class: {name}{_signature(getattr(kind, name))}"
        elif isinstance(value, property):
            yield f"    property {name} -> {value.fget.__annotations__.get('return') if value.fget else None}"
        elif inspect.isfunction(value):
            yield f"    {'async ' if inspect.iscoroutinefunction(value) else ''}def {name}{_signature(value)}"


def _is_public(name: str, value: Any) -> bool:
    if name in ("__call__", "__await__", "__aiter__", "__iter__", "__aenter__", "__enter__", "__getitem__"):
        return True
    return not name.startswith("_") and name != "model_config" and not isinstance(value, Enum)


def _signature(thing: Any) -> str:
    try:
        return str(inspect.signature(thing))
    except (TypeError, ValueError):
        return "(…)"


def _default(info: Any) -> str:
    if info.is_required():
        return "required"
    return repr(info.get_default(call_default_factory=True))


if __name__ == "__main__":
    RECORD.write_text("\n".join(surface()) + "\n", encoding="utf-8")
