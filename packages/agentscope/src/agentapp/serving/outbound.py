"""What apps yield, as messages of the wire: `{"name", "content", "role", "metadata"}`, with the content that is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from agentapp.serving.growth import Growth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Message = dict[str, Any]

CHUNK = "chunk"
"""In the metadata of a message whose content is only what is new."""
MESSAGE_ID = "message_id"
DONE: Message = {"name": "assistant", "content": "", "role": "assistant", "metadata": {"done": True}}
_NOT_SHARED = (CHUNK, MESSAGE_ID)


class Outbound:
    """One answer. A `Msg` that says it is a chunk goes out as it is; of others that come again, longer, what is new goes out."""

    def __init__(self) -> None:
        self._growing: dict[str, Growth] = {}

    def messages(self, value: Any) -> Iterator[Message]:
        """Yield the messages that `value` is: a `Msg`, a text, a model's chunk, a mapping with `content`, a list of these, or None.

        Raises:
            TypeError: it is something else.
        """
        if value is None:
            return
        if isinstance(value, str):
            yield _chunk("assistant", value, "assistant", {})
        elif isinstance(value, list | tuple):
            for part in cast("Iterable[Any]", value):
                yield from self.messages(part)
        elif isinstance(value, dict):
            yield _of_mapping(cast("dict[str, Any]", value))
        elif hasattr(value, "content") and hasattr(value, "role"):
            yield from self._of_message(value)
        elif isinstance(getattr(value, "text", None), str):
            yield _chunk("assistant", value.text, "assistant", {})
        else:
            raise TypeError(f"an app answers with Msg or text, and this is of type {type(value).__name__}")

    def _of_message(self, message: Any) -> Iterator[Message]:
        metadata: Mapping[str, Any] = message.metadata or {}
        content = message.content
        if not metadata.get(CHUNK):
            content = self._growing.setdefault(message.id, Growth()).step(content, last=True)
        if content or metadata.keys() - set(_NOT_SHARED):
            yield _chunk(message.name, content, message.role, metadata)


def _of_mapping(value: Mapping[str, Any]) -> Message:
    if "content" not in value:
        raise TypeError(f"an app answers with Msg or text, and this is a mapping without content: {', '.join(value)}")
    return _chunk(value.get("name", "assistant"), value["content"], value.get("role", "assistant"), value.get("metadata") or {})


def _chunk(name: str, content: Any, role: str, metadata: Mapping[str, Any]) -> Message:
    return {"name": name, "content": content, "role": role, "metadata": {**metadata, CHUNK: True}}


def whole(messages: Iterable[Message]) -> Message:
    """Return one message that says what all of them say: a text, or blocks where there is more than text.

    Texts of one sender go together; where the sender changes, or an agent begins another message, a new line begins.
    """
    blocks: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}
    name, before = "assistant", None
    for message in messages:
        told: Mapping[str, Any] = message["metadata"]
        if told.get("done"):
            continue
        name = message["name"] if message["role"] == "assistant" else name
        this = (message["name"], told.get(MESSAGE_ID))
        _join(blocks, message["content"], apart=before not in (None, this))
        before = this
        metadata |= {key: value for key, value in told.items() if key not in _NOT_SHARED}
    content = "".join(block["text"] for block in blocks) if all(block["type"] == "text" for block in blocks) else blocks
    return {"name": name, "content": content, "role": "assistant", "metadata": {**metadata, "done": True}}


def _join(blocks: list[dict[str, Any]], content: Any, *, apart: bool) -> None:
    """Add content to blocks; text and thinking go on where they stopped."""
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        kind = block["type"]
        key = kind if kind in ("text", "thinking") else None
        if key and blocks and blocks[-1]["type"] == kind:
            separator = "\n" if apart and blocks[-1][key] and block[key] else ""
            blocks[-1] = {**blocks[-1], key: f"{blocks[-1][key]}{separator}{block[key]}"}
        elif not key or block[key]:
            blocks.append(dict(block))
