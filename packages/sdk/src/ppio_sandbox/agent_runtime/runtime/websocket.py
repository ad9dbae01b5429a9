"""`/ws`: the agent's own WebSocket, if it has one (the AgentCore container contract, 5.7)."""

from __future__ import annotations

import contextlib
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ppio_sandbox.agent_runtime.runtime.context import AgentRuntimeContext
from ppio_sandbox.agent_runtime.runtime.invocation import request_context
from ppio_sandbox.agent_runtime.runtime.replies import Reply, RequestError

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.runtime.handshake import Handshake
    from sandkit.serving.handlers import Handler
    from sandkit.serving.threads import Threads

logger = logging.getLogger("ppio_sandbox.agent_runtime")

_DONE = 1000
_FAILED = 1011


async def serve(handler: Handler, threads: Threads, handshake: Handshake) -> Reply:
    """Have `handler` serve one connection, which it accepts itself, and return how the handshake was answered.

    A connection that it leaves open is closed with 1000, or with 1011 if it raises.

    Raises:
        RequestError: it has neither accepted nor refused.
    """
    socket = WebSocket({**handshake.scope, "type": "websocket"}, handshake.hear, handshake.tell)
    context = request_context(handshake)
    AgentRuntimeContext.set_current_context(context)
    code = _FAILED
    try:
        await handler(socket, lambda: context, threads)
        code = _DONE
    except WebSocketDisconnect:
        logger.debug("the client has left the WebSocket (request %s)", context.request_id)
    finally:
        if socket.application_state == socket.client_state == WebSocketState.CONNECTED:
            with contextlib.suppress(WebSocketDisconnect):
                await socket.close(code)
    if handshake.answered is None:
        raise RequestError(HTTPStatus.FORBIDDEN, "websocket_refused", "the agent has not accepted the WebSocket")
    return Reply(handshake.answered, b"", [(b"x-request-id", handshake.request_id.encode())])
