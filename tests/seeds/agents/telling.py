"""The agent behind the names that samples stream from."""

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()


@app.entrypoint
async def tell(request: dict):
    yield "Once upon a time: "
    yield request["prompt"]
    yield " The end."


if __name__ == "__main__":
    app.run()
