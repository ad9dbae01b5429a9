"""What one server consists of, and how its parts are put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from sandyard.app.backends import WholeBackend, open_backend, open_egress
from sandyard.app.clock import SystemClock
from sandyard.app.gateway import Gateway, gateway_of
from sandyard.app.listening import ApiServer, api_server
from sandyard.app.sandboxes import SandboxParts, company_of, sandbox_parts
from sandyard.app.templates import TemplateParts, template_parts
from sandyard.blobs import ObjectBlobs, open_bucket
from sandyard.catalog import Catalog
from sandyard.egress.inner import Inner
from sandyard.egress.policy import read_entry
from sandyard.ingress import Ingress, IngressLimits
from sandyard.services.admission import Admission
from sandyard.services.audit.chain import Chain
from sandyard.services.audit.refusals import Refusals
from sandyard.services.context import Context
from sandyard.services.data_dir import API_KEY, DATABASE
from sandyard.services.deadlines import Deadlines
from sandyard.services.exits import Exits
from sandyard.services.keys import Keys, is_platform_key
from sandyard.services.lifecycle import Lifecycle
from sandyard.services.origins import GATEWAY_HOST, Origins
from sandyard.services.reconcile import Reconciler
from sandyard.services.secrets_dir import create_once
from sandyard.services.signatures import Signatures
from sandyard.services.tokens import Tokens
from sandyard.services.wakes import Wakes
from sandyard.store.sqlite import SqliteStore
from sandyard.web.api import create_api
from sandyard.web.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AsyncExitStack
    from pathlib import Path

    from sandyard.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Everything that one server consists of. `loops` run as long as it serves."""

    settings: Settings
    context: Context
    backend: WholeBackend
    lifecycle: Lifecycle
    reconciler: Reconciler
    admission: Admission
    exits: Exits
    templates: TemplateParts
    sandboxes: SandboxParts
    gateway: Gateway
    inner: Inner
    wakes: Wakes
    loops: tuple[Callable[[], Coroutine[object, object, None]], ...]
    api: ApiServer
    ingress: Ingress


async def compose(settings: Settings, stack: AsyncExitStack) -> Platform:
    """Build the platform from its parts; `stack` closes what was opened."""
    secrets_dir = settings.data_dir / "secrets"
    clock = SystemClock()
    store = await SqliteStore.open(settings.data_dir / DATABASE)
    stack.push_async_callback(store.close)
    audit = await Chain.open(store.audit, secrets_dir, clock)
    keys = await Keys.open(store.keys, audit, clock, secrets_dir)
    await _first_key(keys, settings.data_dir / API_KEY)
    tokens = await Tokens.open(secrets_dir, clock)
    origins = Origins()
    inner = Inner(GATEWAY_HOST, origins)
    egress = open_egress(stack, inner)
    backend = await open_backend(settings, egress, stack)
    blobs, addresses = open_bucket(settings.blobs) if settings.blobs else (ObjectBlobs.local(settings.data_dir / "blobs"), None)
    context = Context(
        settings=settings,
        store=store,
        blobs=blobs,
        blob_addresses=addresses,
        backend=backend,
        supervision=backend,
        dialer=backend,
        snapshots=backend,
        meters=backend,
        mounts=backend,
        egress=egress,
        catalog=Catalog(),
        tokens=tokens,
        clock=clock,
        audit=audit,
        refusals=Refusals(audit),
        origins=origins,
    )
    return _wire(context, backend, keys, tokens, inner)


def _wire(context: Context, backend: WholeBackend, keys: Keys, tokens: Tokens, inner: Inner) -> Platform:
    settings = context.settings
    wakes = Wakes()
    exits = Exits(context.supervision)
    deadlines = Deadlines(context.clock)
    admission = Admission(places=settings.max_sandboxes, starting=settings.max_starting, queue=settings.start_queue)
    company = company_of(context)
    lifecycle = Lifecycle(context, admission, deadlines, company)
    templates = template_parts(context, exits, wakes)
    sandboxes = sandbox_parts(context, templates.templates, lifecycle, admission, company)
    gateway = gateway_of(context, keys, tokens, exits=exits, admission=admission, wakes=wakes)
    return Platform(
        settings=settings,
        context=context,
        backend=backend,
        lifecycle=lifecycle,
        reconciler=Reconciler(context, lifecycle),
        admission=admission,
        exits=exits,
        templates=templates,
        sandboxes=sandboxes,
        gateway=gateway,
        inner=inner,
        wakes=wakes,
        loops=(
            lambda: exits.run(lifecycle.exited),
            lambda: deadlines.run(lifecycle.due),
            keys.watch,
            context.refusals.run,
            templates.builder.run,
            company.metering.run,
            *gateway.loops,
        ),
        api=api_server(create_api(_parts(context, keys, templates, sandboxes), gateway.app, context.origins), settings),
        ingress=_ingress(context, keys, tokens, lifecycle),
    )


def _parts(context: Context, keys: Keys, templates: TemplateParts, sandboxes: SandboxParts) -> Parts:
    """Return what the control plane's routes are given."""
    return Parts(
        settings=context.settings,
        sandboxes=sandboxes.sandboxes,
        copies=sandboxes.copies,
        snapshots=sandboxes.snapshots,
        templates=templates.templates,
        deployments=templates.deployments,
        build_logs=templates.build_logs,
        recipes=templates.recipes,
        volumes=sandboxes.company.volumes,
        attaching=sandboxes.attaching,
        secrets=sandboxes.company.secrets,
        owner_of=keys.find,
        signatures=Signatures(keys, context.clock),
        audit=context.audit,
        refusals=context.refusals,
        check_entry=read_entry,
        clock=context.clock,
    )


def _ingress(context: Context, keys: Keys, tokens: Tokens, lifecycle: Lifecycle) -> Ingress:
    return Ingress(
        context.catalog,
        context.dialer,
        owner_of=keys.owner_of,
        internal_token=tokens.internal_token,
        is_platform_key=is_platform_key,
        wake=lifecycle.wake,
        limits=IngressLimits(drain_timeout=context.settings.drain_timeout),
    )


async def _first_key(keys: Keys, path: Path) -> None:
    """Make the key that `sandyard env` prints, on the first start."""
    if not await anyio.Path(path).exists():
        _, text = await keys.create("first start")
        create_once(path, text.encode)
