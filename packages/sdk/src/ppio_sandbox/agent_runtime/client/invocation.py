"""Reading and writing invocations, without a socket (seed-resolutions 5-10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from ppio_sandbox.agent_runtime.client import faults
from ppio_sandbox.agent_runtime.client.exceptions import AgentClientError, InvocationError, NetworkError
from ppio_sandbox.agent_runtime.exceptions import ValidationError
from sandkit.http import agents
from sandkit.wire.invocations import ENVELOPE_KEYS, InvocationRequest, InvocationResponse
from sandkit.wire.sse import ERROR_EVENT, MEDIA_TYPE, Decoder, Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandkit.http.messages import Reply, Request


def body_of(request: object) -> dict[str, Any]:
    """Return the JSON object to send: a string is the prompt; of `prompt` and `query` the one that is missing mirrors the other.

    Raises:
        InvocationError: it is neither a string, nor a mapping, nor a model.
    """
    match request:
        case str():
            body: dict[str, Any] = {"prompt": request}
        case InvocationRequest():
            body = request.body()
        case Mapping():
            body = dict(cast("Mapping[str, Any]", request))
        case _:
            raise InvocationError(
                f"Invalid request format: a request is a string, a mapping or an InvocationRequest, not {type(request).__name__}",
                "bad_request",
            )
    for name, mirror in (("prompt", "query"), ("query", "prompt")):
        if body.get(name) is not None:
            body.setdefault(mirror, body[name])
    return body


def prepared(request: object, *, stream: bool = False) -> tuple[dict[str, Any], Request]:
    """Return `body_of(request)`, and the call to the agent with it; `stream` asks for a stream, whatever the body says.

    Raises:
        InvocationError: as `body_of`.
        ValidationError: something in it has no form in JSON.
    """
    try:
        body = body_of(request)
        if stream:
            body["stream"] = True
        return body, agents.invoke(body, stream=stream)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"the request has no form in JSON: {error}", "bad_request") from error


def response_of(reply: Reply, sandbox_id: str, seconds: float) -> InvocationResponse:
    """Return what the agent answered; `seconds` is the duration as seen from here, used where the agent told none.

    Raises:
        AgentClientError: the agent failed, or the ingress could not reach it.
    """
    if not reply.ok:
        raise faults.from_agent(reply, sandbox_id)
    if is_stream(reply.headers):
        return _wrapped(_collected(reply, sandbox_id), reply, seconds)
    body = faults.decoded(reply.body)
    envelope = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    if not ENVELOPE_KEYS.issubset(envelope):
        is_text = body is None and reply.body != b"null"
        return _wrapped(reply.body.decode("utf-8", "replace") if is_text else cast("object", body), reply, seconds)
    if envelope["status"] == "error":
        raise faults.from_agent_value(envelope, {}, sandbox_id, reply.request_id)
    return InvocationResponse.model_validate(envelope)


def is_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == MEDIA_TYPE


class Chunks:
    """Turns the bytes of a stream of events into the agent's chunks, as text."""

    def __init__(self, sandbox_id: str) -> None:
        self._sandbox_id = sandbox_id
        self._decoder = Decoder()

    def feed(self, part: bytes) -> Iterator[str]:
        """Yield the chunks that `part` completes, in order.

        Raises:
            InvocationError: the agent told of a failure, after them.
        """
        for event in self._decoder.feed(part):
            yield text_of(event, self._sandbox_id)

    def end(self) -> None:
        """Say that no more is to come.

        Raises:
            NetworkError: the stream ended within an event.
        """
        _check_whole(self._decoder, self._sandbox_id)


def text_of(event: Event, sandbox_id: str) -> str:
    """Return a chunk as text: a JSON string's content, any other JSON value as it was written.

    Raises:
        InvocationError: it is the event that tells of the agent's failure.
    """
    value = faults.decoded(event.data.encode())
    if event.event == ERROR_EVENT:
        raise _told_failure(value, event.data, sandbox_id)
    return value if isinstance(value, str) else event.data


def as_text(value: object) -> str:
    """Return a whole answer as one chunk."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _told_failure(value: object, text: str, sandbox_id: str) -> AgentClientError:
    told = cast("dict[str, Any]", value) if isinstance(value, dict) else {"error": text}
    return faults.from_agent_value(told, {}, sandbox_id, None)


def _collected(reply: Reply, sandbox_id: str) -> object:
    """Return the chunks of an agent that streamed though nobody asked for it: one text, or the list of its values."""
    decoder = Decoder()
    events = decoder.feed(reply.body)
    texts = [text_of(event, sandbox_id) for event in events]
    _check_whole(decoder, sandbox_id)
    values = [faults.decoded(event.data.encode()) for event in events]
    return "".join(texts) if all(isinstance(value, str) for value in values) else values


def _check_whole(decoder: Decoder, sandbox_id: str) -> None:
    if decoder.is_within_an_event:
        raise NetworkError("the stream ended in the middle of an event", "network", sandbox_id=sandbox_id)


def _wrapped(result: object, reply: Reply, seconds: float) -> InvocationResponse:
    return InvocationResponse(result=result, duration=seconds, metadata={"request_id": reply.request_id})
