"""Ids of things: a letter that says what it is, and 80 random bits. `^[a-z0-9]+$`, so that one fits a host name's label.

A build's id is a UUID without its dashes: E2B's clients read it as one.
"""

from __future__ import annotations

import secrets
from typing import Literal
from uuid import uuid4


def new_id(kind: Literal["sandbox", "template", "build", "prefab", "worker", "job", "volume", "key"]) -> str:
    """Return a fresh id such as `s4f0c…` (21 characters), of a build 32 hexadecimal digits."""
    if kind == "build":
        return uuid4().hex
    return kind[0] + secrets.token_hex(10)
