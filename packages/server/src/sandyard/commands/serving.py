"""From the options of `sandyard serve` to the settings of the gateway."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from sandyard.commands import reading

if TYPE_CHECKING:
    from sandyard.config import GatewaySettings

Allowed = Annotated[
    list[str] | None, typer.Option(help="An address or network whose callers need no credential at the gateway; repeatable.")
]
Proxies = Annotated[list[str] | None, typer.Option(help="An address or network whose X-Forwarded-For is believed; repeatable.")]
IssuerUrl = Annotated[str | None, typer.Option(help="Accept this issuer's JWTs at the gateway (their `iss`).")]
Audience = Annotated[str, typer.Option(help="The `aud` that its JWTs must have.")]
Jwks = Annotated[str | None, typer.Option(help="Where its keys are; without it <issuer>/.well-known/jwks.json.")]
JwksCache = Annotated[float, typer.Option(min=0.1, help="Seconds that its keys are kept.")]
Failures = Annotated[int, typer.Option(min=1, help="Refused credentials of one address in a minute before it has to wait.")]
Storage = Annotated[str, typer.Option(help="The most that one tenant's files may hold, such as 50Gi.")]
LargestFile = Annotated[str, typer.Option(help="The most that one file may hold.")]
PublicUrl = Annotated[str | None, typer.Option(help="Where clients reach the API: what signed URLs begin with.")]
SecretsCommand = Annotated[str | None, typer.Option(help="Prints the master keys of secrets, in place of the file in the data directory.")]
Prepare = Annotated[
    list[str] | None, typer.Option(help="Build this built-in template at the start and not on first use: code-interpreter-v1; repeatable.")
]
BlobsUrl = Annotated[
    str | None,
    typer.Option(
        help="s3://bucket/prefix?endpoint=http://…: keep bytes there, not in the data directory; prefix and endpoint may be left out."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What was said on the command line about identity, files and secrets; sizes are bytes."""

    allow: list[str] | None
    proxies: list[str] | None
    issuer: str | None
    audience: str
    jwks: str | None
    cache: float
    failures: int
    stored: int
    largest: int
    public_url: str | None
    secrets_command: str | None

    def apply(self, settings: GatewaySettings) -> GatewaySettings:
        """Return the settings with these options.

        Raises:
            typer.BadParameter: one of them is not what it should be.
        """
        from sandyard.config import IssuerSettings  # noqa: PLC0415 (only when it runs)

        issuer = None
        if self.issuer is not None:
            jwks = self.jwks or self.issuer.rstrip("/") + "/.well-known/jwks.json"
            issuer = IssuerSettings(issuer=self.issuer, audience=self.audience, jwks_url=reading.http_url(jwks), cache=self.cache)
        identity = replace(
            settings.identity,
            allow=_networks(self.allow),
            proxies=_networks(self.proxies),
            failures=self.failures,
            issuer=issuer,
        )
        public = None if self.public_url is None else reading.http_url(self.public_url).rstrip("/")
        files = replace(settings.files, stored=self.stored, largest=self.largest, public_url=public)
        return replace(settings, identity=identity, files=files, secrets_command=tuple(shlex.split(self.secrets_command or "")))


def _networks(texts: list[str] | None) -> tuple[str, ...]:
    from sandyard.services.callers.addresses import read_network  # noqa: PLC0415

    for text in texts or ():
        try:
            read_network(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return tuple(texts or ())
