"""Starting a kernel's process. Standard library only: the first kernel starts while all else is still being imported."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandkit.interpreter.languages import Language

_CHANNELS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
_LOOPBACK = "127.0.0.1"
_OOM_SCORE = "500"
"""Where memory runs out, kernels are ended before the program that can say so."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A kernel's process, which leads a session and process group of its own, and the file that says how to speak with it."""

    process: subprocess.Popen[bytes]
    connection: Path

    def clean(self) -> None:
        """Remove what was made for it on disk."""
        shutil.rmtree(self.connection.parent, ignore_errors=True)


def launch(language: Language, cwd: str) -> Launched:
    """Start a kernel; it is not yet ready then.

    Raises:
        OSError: its program or the directory is not there.
    """
    connection = Path(tempfile.mkdtemp(prefix="kernel-")) / "connection.json"
    facts = dict(zip(_CHANNELS, _free_ports(len(_CHANNELS)), strict=True)) | {
        "transport": "tcp",
        "ip": _LOOPBACK,
        "key": secrets.token_hex(32),
        "signature_scheme": "hmac-sha256",
        "kernel_name": language.name,
    }
    with os.fdopen(os.open(connection, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(facts, file)
    command = [word.replace("{connection_file}", str(connection)) for word in language.command]
    try:
        process = _start(command, cwd, os.environ | dict(language.env))
    except OSError:
        shutil.rmtree(connection.parent, ignore_errors=True)
        raise
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/oom_score_adj").write_text(_OOM_SCORE)
    return Launched(process, connection)


def _start(command: Sequence[str], cwd: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 (ours, or an installed kernel's)


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]
