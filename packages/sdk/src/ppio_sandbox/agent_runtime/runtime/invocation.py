"""What a call asks for: the request as the agent sees it, its context, and whether it wants a stream (seed-resolutions 6, 11)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import orjson

from ppio_sandbox.agent_runtime.runtime import agentcore
from ppio_sandbox.agent_runtime.runtime.models import RequestContext
from ppio_sandbox.agent_runtime.runtime.replies import RequestError

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.runtime.exchange import Exchange

_SANDBOX_HEADER = "x-sandbox-id"
_NO_FIELDS: dict[str, Any] = {}


class Invocation:
    """One call. `request` is the decoded body, with `prompt` and `query` mirrored; other values travel unchanged."""

    __slots__ = ("_context", "_exchange", "_fields", "request")

    def __init__(self, exchange: Exchange, body: bytes) -> None:
        """Decode `body`.

        Raises:
            RequestError: it is not JSON.
        """
        self._exchange = exchange
        self._context: RequestContext | None = None
        request = _decoded(body)
        if exchange.dialect is not agentcore.DIALECT:
            request = _mirrored(request)
        self.request: Any = request
        self._fields = cast("dict[str, Any]", request) if isinstance(request, dict) else _NO_FIELDS

    @property
    def stream(self) -> bool | None:
        """True: the caller wants a stream; False: one answer; None: it does not say, the agent's return type decides."""
        wish = self._fields.get("stream")
        return wish if isinstance(wish, bool) and self._exchange.dialect is not agentcore.DIALECT else None

    def limit(self, seconds: float) -> float:
        """Return how long the call may take: `seconds` (0: for ever), or what the caller wants if that is less."""
        told = self._fields.get("timeout")
        if told is None:
            return seconds
        if isinstance(told, bool) or not isinstance(told, int | float) or not told > 0 or self._exchange.dialect is agentcore.DIALECT:
            return seconds
        return min(told, seconds) if seconds > 0 else told

    @property
    def action(self) -> Any:
        """The debug action that the body asks for, if it does."""
        return self._fields.get(agentcore.ACTION)

    def context(self) -> RequestContext:
        """Return the context; made when first asked for, and then always the same."""
        if self._context is None:
            self._context = request_context(self._exchange, self._fields.get("sandbox_id") or self._fields.get("session_id"))
        return self._context


def request_context(exchange: Exchange, sandbox_id: Any = None) -> RequestContext:
    """Return the context of a request; the platform's header goes before the `sandbox_id` of the body."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers.items()}
    told = headers.get(_SANDBOX_HEADER) or sandbox_id
    fields = agentcore.context_fields(headers) if exchange.dialect is agentcore.DIALECT else {}
    known = {"sandbox_id": None if told is None else str(told), "request_id": exchange.request_id, "headers": headers}
    return RequestContext.model_validate({**known, **fields})


def _decoded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        what = f"the body is not valid JSON: {error}" if body else "the body is empty; send JSON"
        slug = "invalid_json" if _is_text(body) else "invalid_encoding"
        raise RequestError(HTTPStatus.BAD_REQUEST, slug, what) from None


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _mirrored(request: Any) -> Any:
    if isinstance(request, str):
        return {"prompt": request, "query": request}
    if isinstance(request, dict):
        fields = cast("dict[str, Any]", request)
        if "prompt" in fields:
            fields.setdefault("query", fields["prompt"])
        elif "query" in fields:
            fields["prompt"] = fields["query"]
        return fields
    return request
