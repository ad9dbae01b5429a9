"""Secrets of sandboxes on the wire, in both vendors' shapes (sandbox-protocol §1.3). No message that is sent out has a value."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (pydantic resolves annotations at run time)
from typing import Annotated

from pydantic import Field

from sandkit.wire.base import Message

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^{}\x00-\x1f\x7f-\x9f]+$")]
"""E2B's clients refuse any other: it stands in `${e2b.secrets.<name>}`."""
Value = Annotated[str, Field(min_length=1, max_length=65536, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[Annotated[str, Field(max_length=128)], Annotated[str, Field(max_length=512)]], Field(max_length=32)]
Hosts = Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=100)]


class NewSecret(Message):
    """`POST /secrets`: `metadata` from E2B's clients, `hosts` and `description` from PPIO's."""

    name: Name
    value: Value = Field(repr=False)
    metadata: Metadata | None = None
    hosts: Hosts | None = None
    description: str | None = Field(None, max_length=1000)


class ChangeSecret(Message):
    """`POST /secrets/{id or name}` (E2B), `PUT /secrets/{name}` (PPIO); what is left out stays."""

    value: Value | None = Field(None, repr=False)
    metadata: Metadata | None = None
    hosts: Hosts | None = None
    description: str | None = Field(None, max_length=1000)


class Secret(Message):
    """A secret as E2B's clients read it."""

    secret_id: str = Field(alias="secretID")
    name: str
    current_version: int
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime


class HostSecret(Message):
    """A secret as PPIO's clients read it."""

    name: str
    hosts: list[str]
    description: str
    created_at: datetime
    updated_at: datetime


class HostSecrets(Message):
    """`GET /secrets` for PPIO's clients."""

    secrets: list[HostSecret]


class Deleted(Message):
    """`DELETE /secrets/{name}` for PPIO's clients."""

    deleted: str
