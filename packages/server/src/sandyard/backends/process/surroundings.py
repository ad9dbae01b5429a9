"""What every sandbox of a keeper uses, and who hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .host import Host
    from .loop import Loop
    from .sandbox import Sandbox
    from .spares import Spares
    from .volumes import Volumes


class Owner(Protocol):
    """Who hears of a sandbox: the keeper."""

    def on_started(self, sandbox: Sandbox) -> None: ...
    def on_listening(self, sandbox: Sandbox) -> None: ...
    def on_ended(self, sandbox: Sandbox) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every sandbox of a keeper uses."""

    host: Host
    loop: Loop
    owner: Owner
    volumes: Volumes
    spares: Spares
