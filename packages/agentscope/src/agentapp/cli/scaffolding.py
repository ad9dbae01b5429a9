"""`agentscope init`: a project that runs, and that deploys as an agent of the platform."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG = """\
# What the app is served with. ${NAME} is a variable that must be set, ${NAME:-default} one that may be.
models:
  main:
    provider: openai
    base_url: ${OPENAI_BASE_URL:-https://api.openai.com/v1}
    model: ${OPENAI_MODEL:-gpt-4}
    api_key: ${OPENAI_API_KEY}
"""
_APP = """\
from collections.abc import AsyncIterator

from agentscope.message import Msg
from agentscope.runtime import AgentApp, SessionContext, runtime


class App(AgentApp):
    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[Msg]:
        async for chunk in runtime.models.main.stream([msg]):
            yield Msg(name="assistant", content=chunk.text, role="assistant")
"""
_AGENT = '''\
"""What the platform runs: the app beside this file."""

import sys

from agentapp import serve

if __name__ == "__main__":
    sys.exit(serve())
'''
_MANIFEST = """\
apiVersion: v1
kind: Agent
metadata:
  name: {name}
  version: "1.0.0"
  author: developer@example.com
spec:
  entrypoint: agent.py
"""
_REQUIREMENTS = "sandyard-agentscope\n"
_REQUIRED = re.compile(r"^\s*sandyard[-_.]agentscope\b", re.MULTILINE | re.IGNORECASE)


def init(project: Path, name: str | None) -> int:
    """Write the files that are not there; what is there stays as it is, but for a requirement that is missing."""
    project.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9.-]+", "-", (name or project.resolve().name).lower()).strip(".-")[:64].strip(".-") or "app"
    files = {"agentapp.yaml": _CONFIG, "app.py": _APP, "agent.yaml": _MANIFEST.format(name=slug), "agent.py": _AGENT}
    for file, text in files.items():
        path = project / file
        if path.exists():
            sys.stdout.write(f"{path} is there already\n")
        else:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
    _require(project / "requirements.txt")
    sys.stdout.write(f"next: agentscope run {project} · ppio-sandbox-cli agent deploy {project}\n")
    return 0


def _require(path: Path) -> None:
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if _REQUIRED.search(before):
        sys.stdout.write(f"{path} is there already\n")
        return
    path.write_text(before + ("" if not before or before.endswith("\n") else "\n") + _REQUIREMENTS, encoding="utf-8")
    sys.stdout.write(f"wrote {path}\n")
