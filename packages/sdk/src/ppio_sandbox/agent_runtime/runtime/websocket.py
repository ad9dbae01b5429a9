"""`/ws`: the agent's own WebSocket, if it has one (the AgentCore container contract, 5.7)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ppio_sandbox.agent_runtime.runtime.context import AgentRuntimeContext
from ppio_sandbox.agent_runtime.runtime.exchange import Exchange
from ppio_sandbox.agent_runtime.runtime.invocation import request_context

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.runtime.asgi import Receive, Scope, Send
    from sandkit.serving.handlers import Handler
    from sandkit.serving.threads import Threads

logger = logging.getLogger("ppio_sandbox.agent_runtime")

_FAILED = 1011


async def serve(handler: Handler, threads: Threads, scope: Scope, receive: Receive, send: Send) -> None:
    """Have `handler` serve one connection, which it accepts itself; what it raises closes the connection with 1011."""
    socket = WebSocket(scope, receive, send)
    context = request_context(Exchange(scope, receive, None))
    AgentRuntimeContext.set_current_context(context)

    def made() -> Any:
        return context

    try:
        await handler(socket, made, threads)
    except WebSocketDisconnect:
        logger.debug("the client has left the WebSocket (request %s)", context.request_id)
    except Exception:
        logger.exception("the agent's WebSocket failed (request %s)", context.request_id)
        if WebSocketState.DISCONNECTED not in (socket.application_state, socket.client_state):
            await socket.close(_FAILED)
