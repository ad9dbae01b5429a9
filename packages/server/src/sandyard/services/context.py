"""What every service stands on: the ports and what is held in memory beside them, composed once in `app`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sandyard.services.addresses import Addresses

if TYPE_CHECKING:
    from sandyard.catalog import Catalog
    from sandyard.config import Settings
    from sandyard.ports import Backend, Blobs, Clock, Dialer, EgressControl, Meters, Snapshots, Store, Supervision


class AccessTokens(Protocol):
    """What services need of `services.tokens`: the tokens that admit to one sandbox: to every port, and to all but the guest's."""

    def access_token(self, sandbox_id: str) -> str: ...

    def traffic_token(self, sandbox_id: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts that services and loops share."""

    settings: Settings
    store: Store
    blobs: Blobs
    backend: Backend
    supervision: Supervision
    snapshots: Snapshots
    meters: Meters
    egress: EgressControl
    dialer: Dialer
    catalog: Catalog
    tokens: AccessTokens
    clock: Clock
    addresses: Addresses = field(default_factory=Addresses)
