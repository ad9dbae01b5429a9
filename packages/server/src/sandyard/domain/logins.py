"""Logins to image registries. They are held in memory, are stored nowhere, and show nothing of themselves when printed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Password:
    """A user and a password, as `docker login` takes them."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """An access key of Amazon's, which is exchanged for a password of its registries (ECR) in one region."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str


Login = Password | AwsKeys
