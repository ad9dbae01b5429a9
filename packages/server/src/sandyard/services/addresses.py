"""Where clients reach this server: known when its listeners are open, which the system may have chosen ports for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Addresses:
    """`domain` is what stands behind `<port>-<sandbox id>.`, with its port unless that is the scheme's own."""

    domain: str | None = None
