from typing import Any

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()


@app.entrypoint
def hello(request: dict[str, Any]) -> str:
    return f"Hello, {request['prompt']}!"


if __name__ == "__main__":
    app.run()
