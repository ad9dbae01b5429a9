"""Reads what `sandyard serve` was told into the domain's words."""

# ruff: noqa: PLC0415 (what only a started server needs is imported when it starts)

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.config import Settings
    from sandyard.domain.specs import EgressPolicy, Limits

ECR_ENDPOINT = "AWS_ENDPOINT_URL_ECR"
"""AWS's own variable: where the API of its registries is, if it is not the region's own."""


def policy(allow: list[str] | None, deny: list[str] | None, *, public: bool) -> EgressPolicy:
    from sandyard.domain.specs import EgressPolicy

    return EgressPolicy(public=public, allow=entries(allow), deny=entries(deny))


def limits(memory: str, cpus: float, processes: int, disk: str) -> Limits:
    from sandyard.domain.specs import Limits

    return Limits(memory_bytes=size_of(memory), cpus=cpus, processes=processes, disk_bytes=size_of(disk))


def entries(values: list[str] | None) -> tuple[str, ...]:
    from sandyard.egress.policy import read_entry

    for value in values or ():
        try:
            read_entry(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return tuple(values or ())


def size_of(text: str) -> int:
    """Read a size such as 512Mi, as manifests write it."""
    from pydantic import ValidationError

    from sandkit.wire.manifest import RuntimeSpec

    try:
        size = RuntimeSpec(timeout=None, memory_limit=text).memory_bytes
    except ValidationError:
        size = None
    if size is None:
        raise typer.BadParameter(f"{text!r} is not a size such as 512Mi or 2Gi")
    return size


def domain(text: str) -> str:
    """Read a name of two labels or more: clients accept no wildcard for less."""
    import re

    if not re.fullmatch(r"(?=.{3,200}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+", text.lower()):
        raise typer.BadParameter(f"{text!r} is not a domain such as sandbox.local")
    return text.lower()


def file(text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise typer.BadParameter(f"--tls takes 'self' or a file of a certificate chain with its key; there is no {path}")
    return path


def http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise typer.BadParameter(f"{text!r} is no http(s) URL")
    return text


def built_in(names: list[str] | None) -> tuple[str, ...]:
    """Read names of built-in templates."""
    if not names:
        return ()
    from sandyard.services.shipped import BUILTINS

    for name in names:
        if name not in BUILTINS:
            raise typer.BadParameter(f"{name!r} is no built-in template; there are {', '.join(BUILTINS)}")
    return tuple(names)


def with_environment(settings: Settings) -> Settings:
    """Return the settings with what our environment says: of the package index of builds, of certificates, of Amazon's registries."""
    from sandyard.services import package_index

    index = package_index.configured(os.environ)
    endpoint = os.environ.get(ECR_ENDPOINT)
    return replace(
        settings,
        index_url=index.url,
        index_hosts=index.hosts,
        ca_bundle=ca_bundle(os.environ),
        ecr_endpoint=http_url(endpoint) if endpoint else None,
    )


def ca_bundle(environ: Mapping[str, str]) -> Path | None:
    """Return the host's certificate bundle where sandboxes see it too: below /etc/ssl."""
    bundle = Path(environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    return bundle if bundle.is_relative_to("/etc/ssl") and bundle.exists() else None
