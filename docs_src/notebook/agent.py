from collections.abc import Iterator
from typing import Any

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()
notes: list[str] = []


@app.entrypoint
def notebook(request: dict[str, Any]) -> Iterator[str]:
    """Remember a note and stream all of them, for as long as the session lives."""
    notes.append(request["prompt"])
    yield f"{len(notes)} notes so far:\n"
    for number, note in enumerate(notes, start=1):
        yield f"{number}. {note}\n"


if __name__ == "__main__":
    app.run()
