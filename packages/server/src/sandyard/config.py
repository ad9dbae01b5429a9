"""Settings: everything that an operator can choose, read once at the edge into one frozen object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sandyard.domain.specs import EgressPolicy, Limits

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """An issuer of JWTs whose users may call the gateway, all within one tenant. Times are seconds."""

    issuer: str
    audience: str
    jwks_url: str
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA", "Ed25519")
    tenant: str = "default"
    leeway: float = 10.0
    cache: float = 300.0
    """How long its keys are kept before they are fetched again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """Who may call the gateway beside API keys and our own tokens. `allow` and `proxies` are addresses or networks."""

    allow: tuple[str, ...] = ()
    """Who comes from there needs no credential: as `listed_user` of `listed_tenant`, without secrets and with `listed_calls` a day."""
    proxies: tuple[str, ...] = ()
    """Whose X-Forwarded-For is believed."""
    listed_tenant: str = "default"
    listed_user: str = "listed"
    listed_calls: int = 1000
    failures: int = 100
    """Refused credentials of one address in a minute; further ones are 429."""
    issuer: IssuerSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """What files callers may store. Sizes are bytes, times seconds."""

    bucket: str = "sandyard"
    """The name in s3:// URLs."""
    largest: int = 5 * 1024**3
    stored: int = 50 * 1024**3
    """All files of one tenant together."""
    public_url: str | None = None
    """Where clients reach the API; without it presigned URLs name the host that the request named."""
    sweep: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What the gateway was told. Times are seconds, sizes bytes."""

    call_timeout: float = 600.0
    """How long a function may take, from the moment that it is called."""
    idle: float = 300.0
    """How long a prefab's sandbox stays warm after its last call."""
    heartbeat: float = 15.0
    """The longest silence on an answer that has begun: proxies cut idle connections."""
    stream_idle: float = 600.0
    """How long a streaming function may yield nothing."""
    max_calls: int = 100
    """Calls in one request."""
    parallel: int = 8
    """Calls of one caller that run at once; further ones wait for their turn."""
    output_bytes: int = 8 * 1024 * 1024
    """What a function may return, as JSON."""
    output_files: int = 1000
    output_file_bytes: int = 2 * 1024 * 1024 * 1024
    """What a call's output files may hold together (and its sandbox's disk before that)."""
    package_bytes: int = 64 * 1024 * 1024
    unpacked_bytes: int = 256 * 1024 * 1024
    package_files: int = 10_000
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    files: FileSettings = field(default_factory=FileSettings)
    secrets_command: tuple[str, ...] = ()
    """Prints the master keys of secrets, in place of the file beside the data directory's other secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `sandyard serve` was told. Port 0 lets the system choose; sizes are bytes, times seconds."""

    data_dir: Path
    host: str = "127.0.0.1"
    api_port: int = 8800
    ingress_port: int = 8801
    domain: str = "sandbox.localhost"
    """Ports of sandboxes are `<port>-<sandbox id>.<domain>`; systemd-resolved, browsers and curl find names below localhost here."""
    tls: Literal["self"] | Path | None = None
    """Serve `*.<domain>` by TLS too: with certificates of our own, or with a file of a chain and its key."""
    tls_port: int = 8443
    backend: Literal["process", "memory"] = "process"
    isolation: Literal["full", "none"] = "full"
    egress: EgressPolicy = field(default_factory=EgressPolicy)
    limits: Limits = field(default_factory=Limits)
    """The upper bounds that a manifest's own limits are cut to, and the default."""
    max_sandboxes: int = 200
    """Living sandboxes per server; one more create is 429."""
    max_starting: int = 8
    """Starts under way at once; further ones queue up to `start_queue`, then 429 with Retry-After."""
    start_queue: int = 64
    package_limit: int = 256 * 1024 * 1024
    unpacked_limit: int = 1024 * 1024 * 1024
    package_files: int = 20_000
    volume_bytes: int | None = None
    """What a volume holds whose creator asks for no quota, and the most that may be asked for; None: what the disk holds."""
    build_timeout: float = 900.0
    max_building: int = 2
    drain_timeout: float = 10.0
    index_url: str | None = None
    """The package index of builds; None takes the one that uv and pip are configured with in the server's environment."""
    index_hosts: tuple[str, ...] = ("pypi.org:443", "files.pythonhosted.org:443")
    """Where builds may go: the index, and where it keeps its files (entries as in `EgressPolicy.allow`)."""
    registries: tuple[str, ...] = ()
    """Image registries (`host:port`) that are spoken to in plain http, and may have a private address."""
    ecr_endpoint: str | None = None
    """Where the API of Amazon's registries is; None is `https://api.ecr.<region>.amazonaws.com`."""
    prepare: tuple[str, ...] = ()
    """Built-in templates that are built when the server starts, in place of when they are first used."""
    ca_bundle: Path | None = None
    """The host's certificate bundle below /etc/ssl, which sandboxes see too."""
    blobs: str | None = None
    """Where bytes are kept: `s3://bucket[/prefix]`, with options (`blobs.buckets`); None is a directory in the data directory."""
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
