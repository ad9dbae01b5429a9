"""What people read goes to standard error, what programs read to standard output; and the exit codes.

0 done · 1 the platform or the agent failed · 2 wrong usage · 3 no or a wrong API key · 4 not found · 5 the build failed · 130 interrupted
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager, nullcontext
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping
    from contextlib import AbstractContextManager

    from rich.console import Console

    from ppio_sandbox.agent_runtime.exceptions import PPIOAgentRuntimeError


_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Control characters as people may see them: what an agent or a build wrote must not steer the reader's terminal."""

_ESCAPED = {code: f"\\u{code:04x}" for code in range(127, 160)}
"""Those control characters that `json.dumps` leaves as they are."""


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    AUTHENTICATION = 3
    NOT_FOUND = 4
    BUILD_FAILED = 5
    INTERRUPTED = 130


class UsageError(Exception):
    """What was asked for cannot be done as it was asked; the message is a sentence for people."""


@cache
def people() -> Console:
    """Return the console for people, one for all: a line that is printed beside a spinner must know of it.

    It keeps to `NO_COLOR`, wraps between words on a terminal, and leaves lines whole where standard error is none.
    """
    from rich.console import Console  # noqa: PLC0415 (a command that prints nothing for people does not pay for it)

    console = Console(stderr=True, highlight=False)
    console.soft_wrap = not console.is_terminal
    return console


def waiting(text: str) -> AbstractContextManager[object]:
    """Show people on a terminal that something is under way; elsewhere nothing."""
    return people().status(text) if sys.stderr.isatty() else nullcontext()


@contextmanager
def listening() -> Generator[None]:
    """Let Ctrl-C end a wait for what people type: the event loop's own handler would act on it only when they have typed it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except typer.Abort:
        people().print()  # the line that was not typed to its end
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def typed() -> str:
    """Return what standard input holds."""
    with listening():
        return sys.stdin.read()


def say(text: str) -> None:
    """Tell people, without markup."""
    people().print(harmless(text, sys.stderr), markup=False)


def give(text: str, end: str = "\n") -> None:
    """Give a program (or a pipe) its result."""
    sys.stdout.write(harmless(text, sys.stdout) + end)
    sys.stdout.flush()


def harmless(text: str, stream: TextIO) -> str:
    """Return the text with visible control characters where `stream` is a terminal; elsewhere every byte as it is."""
    return text.translate(_VISIBLE) if stream.isatty() else text


def end_of_line(text: str) -> str:
    """Return what ends the line that `text` leaves open: nothing where it ended it itself."""
    return "" if text.endswith("\n") else "\n"


def give_json(value: object) -> None:
    """Give one JSON value. Control characters are escaped as JSON does it: on a terminal too it stays JSON."""
    give(json.dumps(value, ensure_ascii=False, default=str).translate(_ESCAPED))


def fail(code: ExitCode, sentence: str, *, as_json: bool = False, **fields: Any) -> NoReturn:
    """End the command: the sentence for people, and with `--json` one object for programs."""
    if as_json:
        give_json({"error": sentence, **{name: value for name, value in fields.items() if value not in (None, "")}})
    say(f"error: {sentence}")
    raise typer.Exit(int(code))


def perform(work: Callable[[], Coroutine[Any, Any, None]], *, as_json: bool) -> None:
    """Run a command's work; what it raises becomes a sentence and an exit code."""
    import asyncio  # noqa: PLC0415 (`--help` needs no event loop)

    from ppio_sandbox.agent_runtime.exceptions import PPIOAgentRuntimeError  # noqa: PLC0415 (likewise)

    try:
        asyncio.run(work())
    except PPIOAgentRuntimeError as error:
        _fail_with(error, as_json=as_json)
    except UsageError as error:
        fail(ExitCode.USAGE, str(error), as_json=as_json)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has left; there is nobody to tell
        raise typer.Exit(int(ExitCode.DONE)) from None
    except OSError as error:
        fail(ExitCode.USAGE, _place_of(error), as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(int(ExitCode.INTERRUPTED)) from None


def _place_of(error: OSError) -> str:
    """Say what is wrong with a file: where it is, and why."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error) or type(error).__name__


def _fail_with(error: PPIOAgentRuntimeError, *, as_json: bool) -> NoReturn:
    details: Mapping[str, Any] = getattr(error, "details", {})
    output = str(details.get("output") or "").rstrip()
    if output:
        say(output)
    fields = {"error_code": error.error_code, "request_id": getattr(error, "request_id", None), "details": details or None}
    sentence = f"{error}{_exit_code_of(details, str(error))}{_hint(error)}"
    fail(_code_of(error), sentence, as_json=as_json, **fields)


def _exit_code_of(details: Mapping[str, Any], told: str) -> str:
    code = details.get("exit_code")
    return "" if code is None or f"code {code}" in told else f" (exit code {code})"


def _hint(error: PPIOAgentRuntimeError) -> str:
    """Say what to do where the platform was not reached and nobody said where it is."""
    if error.error_code == "network" and not os.environ.get("PPIO_API_URL"):
        return '; PPIO_API_URL is not set: with a local platform running, eval "$(sandyard env)" sets it'
    return ""


def _code_of(error: PPIOAgentRuntimeError) -> ExitCode:
    from ppio_sandbox.agent_runtime.client.exceptions import (  # noqa: PLC0415 (only a failure needs them)
        AuthenticationError,
        SessionNotFoundError,
        TemplateNotFoundError,
    )
    from ppio_sandbox.agent_runtime.exceptions import ValidationError  # noqa: PLC0415 (likewise)

    match error:
        case AuthenticationError():
            return ExitCode.AUTHENTICATION
        case TemplateNotFoundError() | SessionNotFoundError():
            return ExitCode.NOT_FOUND
        case ValidationError():
            return ExitCode.USAGE
        case _ if error.error_code in ("not_found", "build_not_found"):
            return ExitCode.NOT_FOUND
        case _:
            return ExitCode.FAILED
