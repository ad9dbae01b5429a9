"""The `sandyard` command. What a command needs is imported when it runs, so that the light ones start at once."""

# ruff: noqa: PLC0415, PLR0917 (each command imports what it needs when it runs; typer passes by name)

from __future__ import annotations

import os
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TextIO, TypeVar, cast

import typer

from sandyard.commands import reading, serving
from sandyard.commands.accounting import audit_app, quota_app, usage
from sandyard.commands.prefab import app as prefab_app

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sandyard.config import Settings
    from sandyard.services.data_dir import DataDir, ServerInfo
    from sandyard.services.keys import Keys

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="A self-hosted platform for AI agents.")
key_app = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(key_app, name="key")
app.add_typer(prefab_app, name="prefab")
app.add_typer(quota_app, name="quota")
app.add_typer(audit_app, name="audit")
app.command()(usage)


class BackendName(StrEnum):
    """Who starts sandboxes."""

    PROCESS = "process"
    MEMORY = "memory"


class IsolationName(StrEnum):
    """Whether sandboxes are isolated; none is for development only."""

    FULL = "full"
    NONE = "none"


class EgressName(StrEnum):
    """What sandboxes reach beside the --egress-allow list."""

    PUBLIC = "public"
    NONE = "none"


def _default_data_dir() -> Path:
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "sandyard"


DataDirOption = Annotated[
    Path, typer.Option(envvar="SANDYARD_DATA_DIR", default_factory=_default_data_dir, show_default="~/.local/share/sandyard")
]


@app.command()
def serve(
    data_dir: DataDirOption,
    host: Annotated[str, typer.Option(help="The address of both listeners.")] = "127.0.0.1",
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="The control plane; 0 chooses.")] = 8800,
    ingress_port: Annotated[int, typer.Option(min=0, max=65535, help="The data plane; 0 chooses.")] = 8801,
    domain: Annotated[str, typer.Option(help="Ports of sandboxes are <port>-<sandbox id>.<domain>.")] = "sandbox.localhost",
    tls: Annotated[str | None, typer.Option(help="self, or a file of a certificate chain with its key: serve the domain by TLS.")] = None,
    tls_port: Annotated[int, typer.Option(min=0, max=65535, help="Both planes by TLS, with --tls; 0 chooses.")] = 8443,
    backend: Annotated[BackendName, typer.Option(help="Who starts sandboxes.")] = BackendName.PROCESS,
    isolation: Annotated[IsolationName, typer.Option(help="none is for development only.")] = IsolationName.FULL,
    egress: Annotated[EgressName, typer.Option(help="What sandboxes reach beside --egress-allow.")] = EgressName.PUBLIC,
    egress_allow: Annotated[list[str] | None, typer.Option(help="host, host:port, *.domain, address or network; repeatable.")] = None,
    egress_deny: Annotated[list[str] | None, typer.Option(help="As --egress-allow, and stronger.")] = None,
    registry: Annotated[list[str] | None, typer.Option(help="host:port of an image registry to trust: plain http, any address.")] = None,
    prepare: serving.Prepare = None,
    memory: Annotated[str, typer.Option(help="The most that a sandbox may use, such as 512Mi or 2Gi.")] = "1Gi",
    cpus: Annotated[float, typer.Option(min=0.05, help="The most cores that a sandbox may use.")] = 1.0,
    disk: Annotated[str, typer.Option(help="The most that a sandbox may write.")] = "512Mi",
    processes: Annotated[int, typer.Option(min=8, help="The most processes of a sandbox.")] = 512,
    max_sandboxes: Annotated[int, typer.Option(min=1, help="The most living sandboxes.")] = 200,
    volume_size: Annotated[str | None, typer.Option(help="The most that a volume may hold; none: what the disk holds.")] = None,
    build_timeout: Annotated[float, typer.Option(min=1, help="Seconds.")] = 900.0,
    drain_timeout: Annotated[float, typer.Option(min=0, help="Seconds that requests may go on after SIGTERM.")] = 10.0,
    call_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a prefab's function may take.")] = 600.0,
    stream_idle: Annotated[float, typer.Option(min=0.1, help="Seconds that a streaming function may yield nothing.")] = 600.0,
    prefab_idle: Annotated[float, typer.Option(min=0.1, help="Seconds that a prefab's sandbox stays warm after a call.")] = 300.0,
    parallel_calls: Annotated[int, typer.Option(min=1, help="Calls of one caller that run at once.")] = 8,
    heartbeat: Annotated[float, typer.Option(min=0.1, help="The longest silence of a growing answer, in seconds.")] = 15.0,
    allow_address: serving.Allowed = None,
    trusted_proxy: serving.Proxies = None,
    jwt_issuer: serving.IssuerUrl = None,
    jwt_audience: serving.Audience = "sandyard",
    jwt_jwks: serving.Jwks = None,
    jwt_cache: serving.JwksCache = 300.0,
    auth_failures: serving.Failures = 100,
    storage: serving.Storage = "50Gi",
    largest_file: serving.LargestFile = "5Gi",
    public_url: serving.PublicUrl = None,
    secrets_command: serving.SecretsCommand = None,
    blobs: serving.BlobsUrl = None,
) -> None:
    """Run the platform until SIGTERM or Ctrl-C."""
    from sandyard.config import GatewaySettings, Settings

    gw = GatewaySettings(call_timeout=call_timeout, stream_idle=stream_idle, idle=prefab_idle, parallel=parallel_calls, heartbeat=heartbeat)
    options = serving.GatewayOptions(
        allow=allow_address,
        proxies=trusted_proxy,
        issuer=jwt_issuer,
        audience=jwt_audience,
        jwks=jwt_jwks,
        cache=jwt_cache,
        failures=auth_failures,
        stored=reading.size_of(storage),
        largest=reading.size_of(largest_file),
        public_url=public_url,
        secrets_command=secrets_command,
    )
    settings = Settings(
        data_dir=data_dir.expanduser().absolute(),
        host=host,
        api_port=api_port,
        ingress_port=ingress_port,
        domain=reading.domain(domain),
        tls="self" if tls == "self" else reading.file(tls),
        tls_port=tls_port,
        backend=backend.value,
        isolation=isolation.value,
        egress=reading.policy(egress_allow, egress_deny, public=egress is EgressName.PUBLIC),
        limits=reading.limits(memory, cpus, processes, disk),
        max_sandboxes=max_sandboxes,
        volume_bytes=None if volume_size is None else reading.size_of(volume_size),
        build_timeout=build_timeout,
        drain_timeout=drain_timeout,
        registries=tuple(registry or ()),
        prepare=reading.built_in(prepare),
        blobs=blobs,
        gateway=options.apply(gw),
    )
    _serve(reading.with_environment(settings))


@app.command()
def env(data_dir: DataDirOption) -> None:
    """Print the export lines that point clients at the running server: eval "$(sandyard env)"."""
    data, info = _running(data_dir)
    key = (data.path / "secrets" / "api_key").read_text().strip()
    keys = {"PPIO": key, "E2B": "e2b_" + key.removeprefix("sk-")}
    variables: dict[str, str] = {}
    for vendor, text in keys.items():
        variables |= {
            f"{vendor}_API_KEY": text,
            f"{vendor}_API_URL": info.api_url,
            f"{vendor}_SANDBOX_URL": info.sandbox_url,
            f"{vendor}_DOMAIN": info.domain,
        }
    variables["E2B_VOLUME_API_URL"] = info.api_url
    if info.authority is not None and info.bundle is not None:
        variables |= {"SSL_CERT_FILE": info.bundle, "NODE_EXTRA_CA_CERTS": info.authority}
    for name, value in variables.items():
        typer.echo(f"export {name}={value}")


@key_app.command("create")
def key_create(
    data_dir: DataDirOption,
    name: Annotated[str, typer.Argument(help="To recognise it by.")] = "unnamed",
    owner: Annotated[str, typer.Option(help="Whose sandboxes and templates it opens.")] = "default",
    secret: Annotated[bool, typer.Option("--secret", help="Show also, on a second line, the secret that signs requests with it.")] = False,
) -> None:
    """Make a key and show it, once."""

    async def work(keys: Keys) -> str:
        _, text = await keys.create(name, owner)
        return f"{text}\n{keys.secret_of(text)}" if secret else text

    typer.echo(_with_keys(data_dir, work))


@key_app.command("list")
def key_list(data_dir: DataDirOption) -> None:
    """List keys: id, name, last four characters, state."""

    async def work(keys: Keys) -> list[str]:
        return [f"{key.id}  …{key.hint}  {'revoked' if key.revoked_at else 'active '}  {key.name}" for key in await keys.list()]

    for line in _with_keys(data_dir, work):
        typer.echo(line)


@key_app.command("revoke")
def key_revoke(data_dir: DataDirOption, key_id: str) -> None:
    """Revoke a key by its id; a running server takes note within a second."""

    async def work(keys: Keys) -> bool:
        return await keys.revoke(key_id)

    if not _with_keys(data_dir, work):
        _fail(f"There is no active key {key_id!r}; `sandyard key list` shows them")


@app.command()
def doctor(backend: Annotated[BackendName, typer.Option()] = BackendName.PROCESS) -> None:
    """Start one real sandbox and say what isolation it has, or which knob of this machine forbids it."""
    from sandyard.app.backends import examine
    from sandyard.domain.errors import BackendError

    try:
        isolation = _run(examine, backend.value)
    except BackendError as error:
        _fail(str(error))
    typer.echo(f"Sandboxes start here (back end: {isolation.backend}).")
    typer.echo(f"  uid per sandbox: {isolation.user}")
    typer.echo(f"  namespaces:      {', '.join(isolation.namespaces) or 'none'}")
    typer.echo(f"  seccomp:         {'yes' if isolation.seccomp else 'no'}")
    typer.echo(f"  limits:          {', '.join(isolation.limits) or 'none'}")
    typer.echo(f"  disk limit:      {'yes' if isolation.disk_limit else 'no'}")
    typer.echo(f"  pause by:        {isolation.freeze}")
    for note in isolation.notes:
        typer.echo(f"  note: {note}")


@app.command()
def version() -> None:
    """Print the version."""
    from sandyard.version import VERSION

    typer.echo(VERSION)


def main() -> None:
    """Run the command line."""
    app()


def _serve(settings: Settings) -> None:
    from sandyard.app.serving import serve as serve_platform
    from sandyard.domain.errors import BackendError, StoreError
    from sandyard.services.data_dir import DataDirError

    _log_to_stderr()
    _raise_open_files()
    try:
        _run(serve_platform, settings, _announce)
    except (DataDirError, BackendError, StoreError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"The server cannot start: {error}")


def _raise_open_files() -> None:
    """Take as many descriptors as we may have: clients and sandboxes use them up, ours and the keeper's, which inherits the limit."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _announce(info: ServerInfo) -> None:
    typer.echo(f"ready: API {info.api_url}, sandboxes {info.sandbox_url}")
    sys.stdout.flush()


def _run(function: Callable[..., Coroutine[object, object, T]], *arguments: object) -> T:
    import anyio

    return anyio.run(function, *arguments, backend="asyncio", backend_options={"use_uvloop": True})


def _with_keys(data_dir: Path, work: Callable[[Keys], Coroutine[object, object, T]]) -> T:
    """Run `work` on the keys of a data directory, whether or not its server runs."""
    from sandyard.app.offline import with_keys
    from sandyard.domain.errors import StoreError

    path = data_dir.expanduser().absolute()
    if not (path / "sandyard.db").exists():
        _fail(f"{path} is no data directory; `sandyard serve --data-dir {path}` makes one")
    try:
        return _run(with_keys, path, work)
    except StoreError as error:
        _fail(str(error))


def _running(data_dir: Path) -> tuple[DataDir, ServerInfo]:
    from sandyard.services.data_dir import DataDir, DataDirError

    data = DataDir(data_dir.expanduser().absolute())
    try:
        return data, data.running()
    except DataDirError as error:
        _fail(str(error))


def _log_to_stderr() -> None:
    import logging

    import structlog

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Lossy())),
    )


class _Lossy:
    """Standard error for log lines. One that cannot be written (full disk, reader gone) is lost; the server is not."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            os.write(sys.stderr.fileno(), text.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Nothing is held back."""


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    main()
