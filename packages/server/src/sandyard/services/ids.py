"""Ids of things: a letter that says what it is, and 80 random bits. `^[a-z0-9]+$`, so that one fits a host name's label."""

from __future__ import annotations

import secrets
from typing import Literal


def new_id(kind: Literal["sandbox", "template", "build"]) -> str:
    """Return a fresh id such as `s4f0c…` (21 characters)."""
    return kind[0] + secrets.token_hex(10)
