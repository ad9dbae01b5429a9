"""Who is calling the gateway: what a credential says, and nothing that a header or a body claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CallerKind = Literal["key", "internal", "issuer", "child", "listed", "operator", "signed", "nobody"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated caller.

    `tenant` owns prefabs, files, secrets and quotas, and shares no sandbox with another; `user` is the person (or the tenant
    itself). `agent` is there only where a signed token names one (seed 004: "agent context"). `kind` is the credential: an API
    key, an internal token of ours, a token of a configured issuer, the child token of one call, an allow-listed address. Only the
    audit knows the last three: whoever has the data directory, whoever has a signed URL, whoever was refused.
    `credential` names the key or the token (`jti`), for rate limits and the audit. `scope` are the prefab ids that may be called
    (None: all that the tenant may see); `call` is the id of the call whose child token this is. `key` is the id of the API key that
    stands behind it all, if one does.
    """

    tenant: str
    user: str
    kind: CallerKind
    credential: str
    agent: str | None = None
    sandbox: str | None = None
    scope: tuple[str, ...] | None = None
    call: str | None = None
    key: str | None = None

    def may_call(self, prefab_id: str) -> bool:
        """Whether the credential's scope covers the prefab."""
        return self.scope is None or prefab_id in self.scope


def operator(owner: str) -> Caller:
    """Return who works on a data directory itself, in an owner's name."""
    return Caller(tenant=owner, user=owner, kind="operator", credential="command")


def tenant(owner: str) -> Caller:
    """Return an owner at the control plane, where an API key is all that is known."""
    return Caller(tenant=owner, user=owner, kind="key", credential="API key")
