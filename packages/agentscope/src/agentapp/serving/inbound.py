"""What callers send, checked: nothing that comes from the wire may name a file of ours or an id of the memory's."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from agentapp.app import SessionContext
from agentapp.errors import RequestError
from agentapp.sessions.ports import name

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES = ("user", "assistant")
"""A caller that could speak as `system` could rewrite the app's own instructions."""
MAX_BLOCKS = 100
MAX_NAME = 128

Content = str | list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Inbound:
    """A checked message, and what surrounds it."""

    name: str
    content: Content
    role: str
    context: SessionContext


def read_invoke(body: Any, request_id: str, fetching: str = "") -> Inbound:
    """Read the body of `POST /invoke`: `{"session_id", "message": {"name", "content", "role"}, "metadata"}`.

    `fetching` names what would fetch web addresses itself, from inside our network: then none is taken.

    Raises:
        RequestError: it is not that, or names what it may not.
    """
    fields = _mapping(body, "the body")
    context = _context(fields.get("session_id"), fields.get("metadata"), request_id)
    message = fields.get("message")
    if message is None:
        raise RequestError("message is required")
    return _message({"content": message} if isinstance(message, str) else _mapping(message, "message"), context, fetching)


def read_invocation(body: Any, session_id: str, request_id: str, fetching: str = "") -> Inbound:
    """Read the body of `POST /invocations`: what `/invoke` takes, or a `prompt`; `session_id` holds where the body names none.

    Raises:
        RequestError: as for `read_invoke`.
    """
    fields = _mapping(body, "the body")
    context = _context(fields.get("session_id") or session_id, fields.get("metadata"), request_id)
    message = fields.get("message", fields.get("prompt"))
    if message is None:
        raise RequestError("prompt is required, or a message")
    return _message({"content": message} if not isinstance(message, dict) else cast("dict[str, Any]", message), context, fetching)


def _context(session_id: Any, metadata: Any, request_id: str) -> SessionContext:
    known = {} if metadata is None else _mapping(metadata, "metadata")
    for key in ("tenant_id", "user_id"):
        if known.get(key) is not None:
            name(str(known[key]), f"metadata.{key}", empty=True)
    return SessionContext(name(session_id, "session_id"), known, request_id)


def _message(message: Mapping[str, Any], context: SessionContext, fetching: str) -> Inbound:
    role = message.get("role", "user")
    if role not in ROLES:
        raise RequestError(f"message.role must be one of {', '.join(ROLES)}")
    sender = message.get("name", role)
    if not isinstance(sender, str) or not 0 < len(sender) <= MAX_NAME:
        raise RequestError(f"message.name must be a text of 1 to {MAX_NAME} characters")
    if "content" not in message:
        raise RequestError("message.content is required")
    return Inbound(sender, _content(message["content"], fetching), role, context)


def _content(content: Any, fetching: str) -> Content:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError("message.content must be a text or a list of blocks")
    blocks = cast("list[Any]", content)
    if not 0 < len(blocks) <= MAX_BLOCKS:
        raise RequestError(f"message.content must have 1 to {MAX_BLOCKS} blocks")
    return [_block(_mapping(block, f"message.content[{at}]"), f"message.content[{at}]", fetching) for at, block in enumerate(blocks)]


def _block(block: Mapping[str, Any], where: str, fetching: str) -> dict[str, Any]:
    kind = block.get("type")
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise RequestError(f"{where}.text must be a text")
        return {"type": "text", "text": block["text"]}
    if kind in ("image", "audio", "video"):
        return {"type": kind, "source": _source(_mapping(block.get("source"), f"{where}.source"), kind, f"{where}.source", fetching)}
    raise RequestError(f"{where}.type must be text, image, audio or video")


def _source(source: Mapping[str, Any], kind: str, where: str, fetching: str) -> dict[str, Any]:
    if source.get("type") == "base64":
        media_type, data = source.get("media_type"), source.get("data")
        if not isinstance(media_type, str) or not media_type.startswith(f"{kind}/"):
            raise RequestError(f"{where}.media_type must begin with {kind}/")
        return {"type": "base64", "media_type": media_type, "data": _base64(data, f"{where}.data")}
    if kind == "audio" or fetching:
        who = f", since {fetching}'s library would fetch an address from inside our network" if fetching else ""
        raise RequestError(f"{where}.type must be base64{who}")  # AgentScope fetches audio itself, whatever the provider
    if source.get("type") == "url":
        return {"type": "url", "url": _url(source.get("url"), f"{where}.url")}
    raise RequestError(f"{where}.type must be base64 or url")


def _base64(data: Any, where: str) -> str:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise RequestError(f"{where} is not base64") from None
    return data


def _url(url: Any, where: str) -> str:
    """Return a web address. AgentScope takes anything else for a path on this machine's disk, and sends the file to the model."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise RequestError(f"{where} must be an http or https address")
    return url


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{what} must be an object")
    return cast("dict[str, Any]", value)
