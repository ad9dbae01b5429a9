"""An agent that looks around in its sandbox, and crashes when it is told to: what the demo shows isolation with."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()


@app.entrypoint
def probe(request: dict[str, Any]) -> dict[str, Any] | str:
    """Do what `prompt` says: `write`, `look` (at `data["address"]` of the host too) or `crash`."""
    prompt = request["prompt"]
    if prompt == "write":
        Path.home().joinpath("secret.txt").write_text("only mine")
        return "written"
    if prompt == "crash":
        print("probe: the flux capacitor is missing, giving up", file=sys.stderr, flush=True)
        os._exit(7)
    return look(*request["data"]["address"])


def look(host: str, port: int) -> dict[str, Any]:
    """Return what can be seen from in here."""
    return {
        "processes": sum(entry.name.isdigit() for entry in Path("/proc").iterdir()),
        "files": sorted(entry.name for entry in Path.home().iterdir()),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "variables": sorted(os.environ),
        "reaches_host": reaches(host, port),
    }


def reaches(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    app.run()
