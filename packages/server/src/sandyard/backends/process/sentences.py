"""How a sandbox ended, in words: from the keeper's facts and what the guest wrote beside the output."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from sandkit.guest import output
from sandyard.domain.specs import MEBIBYTE, Exited

from . import diagnose

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LAST = 8192


def exited(sandbox_id: str, facts: Mapping[str, Any], file: Path, subject: str) -> Exited:
    """Return the record of a sandbox's end. `subject` is what it ran: "agent" or "command"."""
    report = _report(file)
    code = facts.get("code", report.get("code"))
    number = facts.get("signal", report.get("signal"))
    return Exited(
        sandbox_id=sandbox_id,
        reason=_reason(facts, report, code, number, subject),
        exit_code=code,
        signal=number,
        output=last_lines(file),
    )


def refusal(errors: str) -> str:
    """Return why no sandbox came to be, from what the keeper, the launcher or bubblewrap wrote."""
    if "bwrap: " in errors or "unshare" in errors:
        return diagnose.sentence(errors, diagnose.facts())
    lines = [line for line in errors.splitlines() if line.strip()]
    return f"A sandbox could not be set up: {lines[-1].strip() if lines else 'its launcher ended without a word'}"


def last_lines(file: Path) -> str:
    """Return the last lines of an output file; nothing where there is none."""
    try:
        return output.tail(file, _LAST).decode(errors="replace")
    except OSError:
        return ""


def _report(file: Path) -> dict[str, int | str | None]:
    try:
        return output.report(file) or {}
    except OSError:
        return {}


def _reason(facts: Mapping[str, Any], report: Mapping[str, Any], code: int | None, number: int | None, subject: str) -> str:
    if facts.get("cause") == "expired":
        return "The sandbox reached the end of its time"
    if facts.get("oom") and code in (None, 137):
        return f"The sandbox ran out of its {facts['memory'] // MEBIBYTE} MiB of memory"
    if report.get("error"):
        return str(report["error"])
    if number is not None:
        return f"The {subject} was killed by signal {number} ({_name(number)})"
    if code is not None:
        return f"The {subject} exited with code {code}"
    return "The sandbox's first process was killed"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
