"""The gateway's parts, put together: prefabs, their calls, and the neighbours of these."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uv

from sandyard.egress.outward import Outward
from sandyard.services.callers.children import Children
from sandyard.services.callers.identify import Callers, Known
from sandyard.services.callers.issuer import Issuer
from sandyard.services.callers.throttle import Throttle
from sandyard.services.envelopes import MASTER_FILE, Envelopes, KeyCommand, KeyFile
from sandyard.services.files.arriving import Place
from sandyard.services.files.keeping import Files
from sandyard.services.files.signing import KEY_FILE as FILE_KEY
from sandyard.services.files.signing import Signer
from sandyard.services.prefabs.call_logs import CallLogs
from sandyard.services.prefabs.execution import Execution
from sandyard.services.prefabs.jobs import Jobs
from sandyard.services.prefabs.preflight import Neighbours, Preflight
from sandyard.services.prefabs.registry import Registry
from sandyard.services.prefabs.workers import Workers
from sandyard.services.quotas.reservations import Reservations
from sandyard.services.secrets.keeping import Secrets
from sandyard.services.secrets_dir import create_once
from sandyard.services.webhooks.sending import KEY_FILE as WEBHOOK_KEY
from sandyard.services.webhooks.sending import Webhooks
from sandyard.web.gateway.app import create_gateway
from sandyard.web.gateway.late_tools import LateTools
from sandyard.web.gateway.parts import GatewayParts
from sandyard.work.prefabs import PrefabBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import ASGIApp

    from sandyard.config import Settings
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
    files: Files
    quotas: Reservations
    loops: tuple[Callable[[], Coroutine[object, object, None]], ...]

    async def recover(self) -> None:
        """Put right what a dead server left; call it before anyone may ask for anything."""
        await self.registry.sweep()
        ended = await self.jobs.recover()
        await self.quotas.recover()
        await self.files.recover()
        if ended:
            _log.warning("jobs of the last server were ended", jobs=ended)


def gateway_of(context: Context, keys: Keys, tokens: Tokens, *, exits: Exits, admission: Admission, wakes: Wakes) -> Gateway:
    """Return the gateway over the platform's parts."""
    settings = context.settings
    children = Children(tokens, context.clock)
    signer = Signer(_kept(context, FILE_KEY))
    place = Place(rows=context.store.files, blobs=context.blobs, addresses=context.blob_addresses)
    files = Files(place, signer, context.audit, context.clock, settings.gateway.files)
    kept = Secrets(context.store.secrets, envelopes_of(settings), context.clock)
    quotas = Reservations(context.store.quotas, settings.gateway.identity, context.clock)
    neighbours = Neighbours(files=files, secrets=kept, quotas=quotas, tokens=children, audit=context.audit)
    registry = Registry(context, wakes)
    workers = Workers(context, exits, admission)
    logs = CallLogs(context.store.call_logs, context.clock, wakes)
    execution = Execution(settings.gateway, workers, neighbours.files, neighbours.tokens, logs)
    preflight = Preflight(registry, neighbours, context.clock, settings.gateway.call_timeout)
    webhooks = Webhooks(context.store, Outward(settings.egress), wakes, context.clock, _kept(context, WEBHOOK_KEY))
    jobs = Jobs(context, preflight, execution, neighbours, wakes)
    builder = PrefabBuilder(context, registry, exits, wakes, Path(uv.find_uv_bin()))
    parts = GatewayParts(
        settings=settings,
        callers=_callers(context, keys, tokens, children),
        registry=registry,
        jobs=jobs,
        logs=logs,
        webhooks=webhooks,
        files=files,
        signer=signer,
        secrets=kept,
        quotas=context.store.quotas,
        audit=context.audit,
        clock=context.clock,
    )
    tools = LateTools(parts)
    return Gateway(
        app=create_gateway(parts, tools),
        registry=registry,
        jobs=jobs,
        files=files,
        quotas=quotas,
        loops=(workers.run, webhooks.run, logs.run, jobs.run, builder.run, files.run, quotas.run, tools.run),
    )


def envelopes_of(settings: Settings) -> Envelopes:
    """Return what seals secrets: under the master keys of the operator's command, or of a file beside the other secrets."""
    command = settings.gateway.secrets_command
    return Envelopes(KeyCommand(command) if command else KeyFile(settings.data_dir / "secrets" / MASTER_FILE))


def _kept(context: Context, name: str) -> bytes:
    return create_once(context.settings.data_dir / "secrets" / name, lambda: secrets.token_bytes(32))


def _callers(context: Context, keys: Keys, tokens: Tokens, children: Children) -> Callers:
    identity = context.settings.gateway.identity
    known = Known(
        keys=keys,
        tokens=tokens,
        children=children,
        catalog=context.catalog,
        issuer=None if identity.issuer is None else Issuer(identity.issuer, context.clock),
        throttle=Throttle(identity.failures, context.clock),
        refusals=context.refusals,
    )
    return Callers(known, identity)
