"""How answers of `POST /invoke` look: messages, and errors as `{"error": {"code", "message"}}` with a real HTTP status."""

from __future__ import annotations

from typing import Any

import orjson

from agentapp.serving.outbound import whole
from ppio_sandbox.agent_runtime.runtime.replies import Reply, fault, json_reply
from sandkit.serving.values import to_json
from sandkit.wire import sse


class Messages:
    """A dialect of the agent's server."""

    @staticmethod
    def success(result: Any, _seconds: float, request_id: str) -> Reply:
        """Return one message that says what those of `result` say."""
        return json_reply(200, to_json(whole(result)), request_id)

    @staticmethod
    def failure(error: BaseException, _seconds: float, request_id: str) -> Reply:
        """Return a failure before anything was answered."""
        found = fault(error)
        return json_reply(found.status, orjson.dumps(_body(error, request_id)), request_id, found.headers)

    @staticmethod
    def failure_event(error: BaseException, request_id: str) -> bytes:
        """Return the terminal event of a stream that failed."""
        return sse.encode(orjson.dumps(_body(error, request_id)), sse.ERROR_EVENT)


def _body(error: BaseException, request_id: str) -> dict[str, Any]:
    found = fault(error)
    code = found.slug.upper() if found.slug.islower() else found.slug
    return {"error": {"code": code, "message": found.message, "status": int(found.status), "request_id": request_id}}


MESSAGES = Messages()
