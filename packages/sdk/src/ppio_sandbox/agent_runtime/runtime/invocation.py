"""What a call asks for: the request as the agent sees it, its context, and whether it wants a stream (seed-resolutions 6, 11)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import orjson

from ppio_sandbox.agent_runtime.runtime.models import RequestContext
from ppio_sandbox.agent_runtime.runtime.replies import RequestError

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.runtime.exchange import Exchange

_SANDBOX_HEADER = "x-sandbox-id"


class Invocation:
    """One call. `request` is the decoded body, with `prompt` and `query` mirrored; other values travel unchanged."""

    __slots__ = ("_context", "_exchange", "request")

    def __init__(self, exchange: Exchange, body: bytes) -> None:
        """Decode `body`.

        Raises:
            RequestError: it is not JSON.
        """
        self._exchange = exchange
        self._context: RequestContext | None = None
        self.request: Any = _mirrored(_decoded(body))

    @property
    def stream(self) -> bool | None:
        """True: the caller wants a stream; False: one answer; None: it does not say, the agent's return type decides."""
        wish = self._field("stream")
        return wish if isinstance(wish, bool) else None

    def context(self) -> RequestContext:
        """Return the context; made when first asked for, and then always the same."""
        if self._context is None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._exchange.scope["headers"]}
            told = headers.get(_SANDBOX_HEADER) or self._field("sandbox_id") or self._field("session_id")
            sandbox_id = None if told is None else str(told)
            self._context = RequestContext(sandbox_id=sandbox_id, request_id=self._exchange.request_id, headers=headers)
        return self._context

    def _field(self, name: str) -> Any:
        request = cast("dict[str, Any] | list[Any] | None", self.request)
        return request.get(name) if isinstance(request, dict) else None


def _decoded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        what = f"the body is not valid JSON: {error}" if body else "the body is empty; send JSON"
        raise RequestError(HTTPStatus.BAD_REQUEST, "invalid_json", what) from None


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
