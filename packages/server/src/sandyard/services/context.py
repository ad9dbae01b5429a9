"""What every service stands on: the ports and what is held in memory beside them, composed once in `app`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sandyard.catalog import Catalog
    from sandyard.config import Settings
    from sandyard.ports import Backend, Blobs, Clock, Dialer, Snapshots, Store, Supervision


class AccessTokens(Protocol):
    """What services need of `services.tokens`: the token that admits to every port of one sandbox."""

    def access_token(self, sandbox_id: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts that services and loops share."""

    settings: Settings
    store: Store
    blobs: Blobs
    backend: Backend
    supervision: Supervision
    dialer: Dialer
    snapshots: Snapshots
    catalog: Catalog
    tokens: AccessTokens
    clock: Clock
