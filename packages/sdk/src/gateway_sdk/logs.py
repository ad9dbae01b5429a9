"""What both clients say of what they send: method, path and status; never a query (signatures), a header or a body."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway_sdk.exceptions import GatewayError

if TYPE_CHECKING:
    from gateway_sdk.flows import Send
    from sandkit.http.errors import TransportError
    from sandkit.http.messages import Reply

_log = logging.getLogger("gateway_sdk")


def log_reply(step: Send, reply: Reply, seconds: float) -> None:
    """Note an answer."""
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug(
            "%s %s: %d after %.1f ms (request %s)", step.request.method, _place(step), reply.status, seconds * 1000, reply.request_id or "-"
        )


def log_failure(step: Send, error: TransportError) -> None:
    """Note an answer that did not come."""
    _log.debug("%s %s: %s", step.request.method, _place(step), error)


def closed() -> GatewayError:
    """Return the error for a client that is used after its end."""
    return GatewayError("this client is closed: make another one, or close it later", "CLIENT_CLOSED")


def _place(step: Send) -> str:
    return step.request.url.partition("?")[0]
