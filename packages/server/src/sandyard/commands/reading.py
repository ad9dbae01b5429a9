"""Reads what `sandyard serve` was told into the domain's words."""

# ruff: noqa: PLC0415 (what only a started server needs is imported when it starts)

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.domain.specs import EgressPolicy, Limits
    from sandyard.services.package_index import PackageIndex


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


def index() -> PackageIndex:
    """Return the package index of builds, as uv and pip are configured in our environment."""
    from sandyard.services import package_index

    return package_index.configured(os.environ)


def ca_bundle(environ: Mapping[str, str]) -> Path | None:
    """Return the host's certificate bundle where sandboxes see it too: below /etc/ssl."""
    bundle = Path(environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    return bundle if bundle.is_relative_to("/etc/ssl") and bundle.exists() else None
