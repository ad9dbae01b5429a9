"""The request that asks for a WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from ppio_sandbox.agent_runtime.runtime.agentcore import SESSION, SESSION_HEADER
from ppio_sandbox.agent_runtime.runtime.exchange import ClientLeftError, Exchange

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.runtime.asgi import Message, Receive, Scope, Send

ACCEPTED = 101
_REFUSED = 403
_POLICY = 1008


class Handshake(Exchange):
    """An exchange like others, a GET without a body, until the agent accepts; then it is a connection.

    An answer sent to it refuses the WebSocket. Where something was answered already, what is sent later is dropped.
    """

    answered: int | None = None
    """The status by which the handshake was answered."""
    _refuses = False
    _was_read = False

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__({**scope, "type": "http", "method": "GET", "headers": _headers(scope)}, self._no_body, self._refuse)
        self.hear = receive
        """What comes over the connection, in the words of ASGI."""
        self._told = send

    async def tell(self, message: Message) -> None:
        """Send what the agent says: at first it accepts or refuses.

        Raises:
            ClientLeftError: the client did not wait for that.
        """
        try:
            await self._told(message)
        except OSError:
            if self.answered is None:
                raise ClientLeftError from None
            raise
        if self.answered is None:
            self.answered = ACCEPTED if message["type"] == "websocket.accept" else message.get("status", _REFUSED)

    async def _no_body(self) -> Message:
        if self._was_read:
            await asyncio.get_running_loop().create_future()  # nothing comes any more, nor can we see that the client leaves
        self._was_read = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _refuse(self, message: Message) -> None:
        """Send a part of an answer that is no WebSocket; a server that cannot send it says 403."""
        is_head = message["type"] == "http.response.start"
        if is_head:
            self._refuses = self.answered is None
        if not self._refuses:
            return
        if "websocket.http.response" in (self.scope.get("extensions") or {}):
            await self.tell({"body": b"", **message, "type": f"websocket.{message['type']}"})
        elif is_head:
            await self.tell({"type": "websocket.close", "code": _POLICY})


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers. Browsers, which can set none, name an AgentCore session in the query."""
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    if SESSION_HEADER not in dict(headers):
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        headers += [(SESSION_HEADER, value.encode()) for name, value in query if name.lower() == SESSION][:1]
    return headers
