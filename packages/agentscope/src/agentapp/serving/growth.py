"""AgentScope's streams are snapshots: the same message again and again, a little longer. What goes out is what is new."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    Block = dict[str, Any]

_GROWING = {"text": "text", "thinking": "thinking"}
"""Blocks that grow, and which of their fields does; others are told once, when they are whole."""


@dataclass(slots=True)
class Growth:
    """One message, as it grows."""

    said: dict[str, str] = field(default_factory=dict[str, str])
    told: int = 0

    def step(self, content: str | Sequence[Any], last: bool) -> str | list[Block]:
        """Return what is new in `content`: a text, or blocks where there is more than text. `last`: the message is whole."""
        blocks: Sequence[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        new: list[Block] = []
        for kind, key in _GROWING.items():
            text = "".join(block.get(key) or "" for block in blocks if block.get("type") == kind)
            before = self.said.get(kind, "")
            if text != before:
                self.said[kind] = text
                new.append({"type": kind, key: text.removeprefix(before)})
        if last:
            whole = [block for block in blocks if block.get("type") not in _GROWING]
            new += whole[self.told :]
            self.told = len(whole)
        if not new or (len(new) == 1 and new[0]["type"] == "text"):
            return new[0]["text"] if new else ""
        return new
