"""Which languages there are, and how each kernel is started, interrupted, and given variables. Standard library only at import."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ALIASES = {"js": "javascript", "ts": "typescript", "py": "python", "python3": "python", "sh": "bash"}


class UnknownLanguage(ValueError):  # noqa: N818 (an answer)
    """No kernel of that language is installed; the message says which are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A kernel's command, in which `{connection_file}` stands for that; the statement that sets a variable of its environment, or
    removes it (None); how it is interrupted.

    `stubborn_seconds`: after how long a kernel that goes on in spite of interrupts is ended, and a new one started; None: never.
    """

    name: str
    command: tuple[str, ...]
    statement: Callable[[str, str | None], str] | None = None
    interrupt: Literal["signal", "message"] = "signal"
    stubborn_seconds: float | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    mark: Callable[[str], str] | None = None
    """The code that prints a text, for a kernel that may say that it is done before it has told all that was printed."""
    warm: str = ""
    """What is run before the first caller's code, since the first code of all is slow."""

    def assign(self, values: Mapping[str, str | None]) -> str:
        """Return the code that sets variables of the kernel's environment, or removes them; nothing where that is not known."""
        statement = self.statement
        return "" if statement is None else "\n".join(statement(name, value) for name, value in values.items())


def _python_statement(name: str, value: str | None) -> str:
    environ = "__import__('os').environ"
    return f"{environ}.pop({name!r}, None)" if value is None else f"{environ}[{name!r}] = {value!r}"


def _bash_statement(name: str, value: str | None) -> str:
    return f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"


def _script_statement(name: str, value: str | None) -> str:
    place = f"process.env[{json.dumps(name)}]"
    return f"delete {place};" if value is None else f"{place} = {json.dumps(value)};"


_INSIDE = (sys.executable, "-P", "-m", "sandkit.interpreter.inside")
_CONNECTION = ("-f", "{connection_file}")
PYTHON = Language(name="python", command=(*_INSIDE, "python", *_CONNECTION), statement=_python_statement, warm="1 + 1")
_BASH = Language(
    name="bash",
    command=(*_INSIDE, "bash", *_CONNECTION),
    statement=_bash_statement,
    stubborn_seconds=5.0,
    env={"HISTFILE": "/dev/null"},
)


def _deno(name: str) -> Language:
    """Deno's kernel, for both languages. Its interrupt ends loops, but no `await`."""
    return Language(
        name=name,
        command=(str(Path(sys.prefix, "bin", "deno")), "jupyter", "--kernel", "--conn", "{connection_file}"),
        statement=_script_statement,
        interrupt="message",
        stubborn_seconds=3.0,
        mark=lambda text: f"console.log({json.dumps(text)})",
        env={"NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"},
    )


_OURS = {language.name: language for language in (PYTHON, _BASH, _deno("javascript"), _deno("typescript"))}


def find(name: str | None) -> Language:
    """Return the language of that name, in any case; nothing means Python.

    Raises:
        UnknownLanguage: there is no kernel of it.
    """
    wanted = (name or "python").lower().strip()
    wanted = _ALIASES.get(wanted, wanted)
    installed = None if wanted in _OURS else _installed()
    found = _OURS.get(wanted) if installed is None else installed.get(wanted)
    if found is None:
        names = ", ".join(sorted({*_OURS, *(installed or {})}))
        raise UnknownLanguage(f"No kernel for the language {wanted[:100]!r} is installed in this sandbox; there are: {names}")
    return found


def _installed() -> Mapping[str, Language]:
    """Return the kernels that somebody installed beside ours, by their language and by their own name."""
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 (asked for rarely, and slow)

    found: dict[str, Language] = {}
    specs = cast("dict[str, dict[str, Any]]", KernelSpecManager().get_all_specs())
    for name, entry in specs.items():
        spec = entry["spec"]
        interrupt = "message" if spec.get("interrupt_mode") == "message" else "signal"
        language = Language(name=name, command=tuple(spec["argv"]), interrupt=interrupt, env=spec.get("env") or {})
        if name in _ALIASES:
            continue  # ipykernel brings one of its own
        found |= {str(spec.get("language", name)).lower(): language, name.lower(): language}
    return found
