"""`agent init`: a directory that can be deployed at once."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ppio_sandbox.cli.output import UsageError, give_json, say
from ppio_sandbox.cli.places import scalar
from sandkit.wire.manifest import MANIFEST_NAMES, AgentConfig, AgentMetadata, AgentSpec, mistake

MANIFEST = """\
apiVersion: v1
kind: Agent
metadata:
  name: {name}
  version: "1.0.0"
  author: {author}
  description: An agent that answers
  created: {created}

spec:
  entrypoint: {entrypoint}
  runtime:
    timeout: 60          # seconds that the agent may take to start
    memory_limit: 512Mi
    cpu_limit: "1"
"""

AGENT = '''\
"""{name}: what it returns is the answer, what it yields is streamed."""

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()


@app.entrypoint
def answer(request: dict) -> str:
    return f"You said: {{request.get('prompt', '')}}"


if __name__ == "__main__":
    app.run()
'''

REQUIREMENTS = "# What the agent imports, one requirement a line. The platform adds its own SDK.\n"

DOCKERFILE = """\
FROM python:3.12-slim

WORKDIR /app

COPY requirements.txt .
RUN pip install --no-cache-dir sandyard-sdk -r requirements.txt

COPY . .

EXPOSE 8080

CMD {command}
"""
"""For those who run the agent without the platform (seed 001 §9.2); the platform does not read it."""


async def init(directory: Path | None, name: str | None, entrypoint: str, author: str, *, as_json: bool) -> None:
    """Write what is missing; what is there is kept."""
    directory = directory or Path()
    name = name or _name_of(directory)
    _check(name, entrypoint, author)
    deploy = f"ppio-sandbox-cli agent deploy {shlex.quote(str(directory))}"
    for manifest in MANIFEST_NAMES:
        if (directory / manifest).exists():
            raise UsageError(f"{directory / manifest} is there already: `{deploy}` deploys it")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    values = {"name": name, "entrypoint": entrypoint, "author": author, "created": created}
    texts = {
        MANIFEST_NAMES[0]: MANIFEST.format_map({field: scalar(value) for field, value in values.items()}),
        entrypoint: AGENT.format(name=name),
        "requirements.txt": REQUIREMENTS,
        "Dockerfile": DOCKERFILE.format(command=json.dumps(["python", entrypoint])),
    }
    written = [file for file, text in texts.items() if _write(directory / file, text)]
    if as_json:
        give_json({"name": name, "directory": str(directory), "written": written})
        return
    say(f"wrote {', '.join(written)} in {directory.resolve()}")
    say(f"next: {deploy}")


def _check(name: str, entrypoint: str, author: str) -> None:
    if Path(entrypoint).is_absolute() or ".." in Path(entrypoint).parts:
        raise UsageError("the entrypoint is a file in the agent's directory")
    try:
        AgentConfig(metadata=AgentMetadata(name=name, version="1.0.0", author=author), spec=AgentSpec(entrypoint=entrypoint))
    except ValidationError as error:
        wrong = "; ".join(f"{item['loc'][-1]}: {mistake(item)}" for item in error.errors())
        raise UsageError(wrong) from error


def _write(path: Path, text: str) -> bool:
    """Write a file that is not there; return whether it was written."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True


def _name_of(directory: Path) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", directory.resolve().name.lower()).strip("-.") or "agent"
