"""An agent that always fails."""

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()


@app.entrypoint
def fail(request: dict) -> str:
    raise LookupError(request["prompt"])


if __name__ == "__main__":
    app.run()
