import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from ppio_sandbox.agent_runtime import AgentRuntimeApp, RequestContext, RuntimeConfig

app = AgentRuntimeApp(RuntimeConfig(timeout=60, cors_origins=["https://my-frontend.example"], rate_limit=100))
notes: list[str] = []
running: set[asyncio.Task[None]] = set()


@app.middleware
async def timed(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    began = time.perf_counter()
    response = await call_next(request)
    response.headers["x-seconds"] = f"{time.perf_counter() - began:.4f}"
    return response


@app.async_task
async def remember(text: str) -> None:
    await asyncio.sleep(30)  # the agent is HealthyBusy until this is done
    notes.append(text)


@app.entrypoint
async def agent(request: dict[str, Any], context: RequestContext) -> AsyncIterator[str]:
    task = asyncio.create_task(remember(request["prompt"]))
    running.add(task)
    task.add_done_callback(running.discard)
    yield f"session {context.sandbox_id}: "
    yield request["prompt"]


@app.websocket
async def talk(websocket: WebSocket, context: RequestContext) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{context.request_id}: {text.upper()}")


if __name__ == "__main__":
    app.run()
