"""What importing the client costs: no HTTP library before a client is made, and only the one that it uses; no messages before any is sent."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "import sys; print(sorted({'aiohttp', 'urllib3', 'starlette', 'uvicorn', 'sandkit.wire.sandboxes'} & set(sys.modules)))"


@pytest.mark.promise("client.light-import")
@pytest.mark.parametrize(
    ("made", "loaded"),
    [
        ("pass", "[]"),
        ("client.AgentRuntimeClient('sk-testing')", "['aiohttp']"),
        ("client.SyncAgentRuntimeClient('sk-testing')", "['urllib3']"),
    ],
)
def test_the_client_loads_what_it_uses(made: str, loaded: str) -> None:
    program = f"from ppio_sandbox.agent_runtime import client\n{made}\n{LOADED}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == loaded
