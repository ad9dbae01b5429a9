"""What every service stands on: the ports and what is held in memory beside them, composed once in `app`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sandyard.services.addresses import Addresses
from sandyard.services.origins import Origins

if TYPE_CHECKING:
    from sandyard.catalog import Catalog, Route
    from sandyard.config import Settings
    from sandyard.ports import Backend, Clock, Dialer, EgressControl, Meters, Snapshots, Store, Supervision
    from sandyard.ports_blobs import BlobAddresses, Blobs
    from sandyard.ports_sandboxes import Mounts
    from sandyard.services.audit.refusals import Refusals
    from sandyard.services.prefabs.neighbours import Audit


class AccessTokens(Protocol):
    """What services need of `services.tokens`: the tokens that admit to one sandbox (to every port, and to all but the guest's), and
    the one by which what runs in it says for whom; and the one that admits to the content of a volume.
    """

    def access_token(self, sandbox_id: str) -> str: ...

    def traffic_token(self, sandbox_id: str) -> str: ...

    def volume_token(self, volume_id: str) -> str: ...

    def internal_token(self, route: Route) -> str: ...


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
    mounts: Mounts
    egress: EgressControl
    dialer: Dialer
    catalog: Catalog
    tokens: AccessTokens
    clock: Clock
    audit: Audit
    refusals: Refusals
    blob_addresses: BlobAddresses | None = None
    addresses: Addresses = field(default_factory=Addresses)
    origins: Origins = field(default_factory=Origins)
