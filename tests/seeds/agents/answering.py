"""The agent behind most names that samples call: it answers, and counts its turns."""

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()
turns = 0


@app.entrypoint
def answer(request: dict) -> str:
    global turns  # noqa: PLW0603 (what a session remembers)
    turns += 1
    return f"answer {turns} to {request['prompt']}"


if __name__ == "__main__":
    app.run()
