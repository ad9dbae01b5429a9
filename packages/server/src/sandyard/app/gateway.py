"""The gateway's parts, put together: prefabs, their calls, and the neighbours of these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uv

from sandyard.services.callers.children import Children
from sandyard.services.callers.identify import Callers, Known
from sandyard.services.callers.issuer import Issuer
from sandyard.services.callers.throttle import Throttle
from sandyard.services.files.local import BlobFiles
from sandyard.services.prefabs.execution import Execution
from sandyard.services.prefabs.jobs import Jobs
from sandyard.services.prefabs.preflight import Neighbours, Preflight
from sandyard.services.prefabs.registry import Registry
from sandyard.services.prefabs.workers import Workers
from sandyard.services.quotas.none import NoAudit, NoQuotas
from sandyard.services.secrets.none import NoSecrets
from sandyard.web.gateway.app import create_gateway
from sandyard.web.gateway.parts import GatewayParts
from sandyard.work.prefabs import PrefabBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import ASGIApp

    from sandyard.services.admission import Admission
    from sandyard.services.context import Context
    from sandyard.services.exits import Exits
    from sandyard.services.keys import Keys
    from sandyard.services.tokens import Tokens
    from sandyard.services.wakes import Wakes

_log = structlog.get_logger("sandyard.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The gateway of one server. `loops` run as long as it serves."""

    app: ASGIApp
    registry: Registry
    jobs: Jobs
    loops: tuple[Callable[[], Coroutine[object, object, None]], ...]

    async def recover(self) -> None:
        """Put right what a dead server left; call it before anyone may ask for anything."""
        await self.registry.sweep()
        ended = await self.jobs.recover()
        if ended:
            _log.warning("jobs of the last server were ended", jobs=ended)


def gateway_of(context: Context, keys: Keys, tokens: Tokens, *, exits: Exits, admission: Admission, wakes: Wakes) -> Gateway:
    """Return the gateway over the platform's parts."""
    settings = context.settings
    children = Children(tokens, context.clock)
    neighbours = Neighbours(files=BlobFiles(context.blobs), secrets=NoSecrets(), quotas=NoQuotas(), tokens=children, audit=NoAudit())
    registry = Registry(context, wakes)
    workers = Workers(context, exits, admission)
    execution = Execution(settings.gateway, workers, neighbours.files, neighbours.tokens)
    preflight = Preflight(registry, neighbours, context.clock, settings.gateway.call_timeout)
    jobs = Jobs(context, preflight, execution, neighbours, wakes)
    builder = PrefabBuilder(context, registry, exits, wakes, Path(uv.find_uv_bin()))
    parts = GatewayParts(
        settings=settings, callers=_callers(context, keys, tokens, children), registry=registry, jobs=jobs, clock=context.clock
    )
    return Gateway(app=create_gateway(parts), registry=registry, jobs=jobs, loops=(workers.run, jobs.run, builder.run))


def _callers(context: Context, keys: Keys, tokens: Tokens, children: Children) -> Callers:
    identity = context.settings.gateway.identity
    known = Known(
        keys=keys,
        tokens=tokens,
        children=children,
        catalog=context.catalog,
        issuer=None if identity.issuer is None else Issuer(identity.issuer, context.clock),
        throttle=Throttle(identity.failures, context.clock),
    )
    return Callers(known, identity)
