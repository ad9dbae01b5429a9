"""Secrets that an owner keeps for sandboxes: set, described, bound to variables; the values are never shown again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sandkit.wire.errors import CONFLICT, INVALID_REQUEST, NOT_FOUND, ApiError
from sandyard.domain.errors import RowConflict
from sandyard.domain.secrets import SandboxSecret
from sandyard.services.envelopes import EnvelopeBroken, NoMasterKey
from sandyard.services.ids import new_id
from sandyard.services.variables import alarm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.ports import Clock
    from sandyard.ports_sandboxes import SandboxSecretRows
    from sandyard.services.envelopes import Envelopes

_PLACEHOLDER = re.compile(r"\$\{e2b\.secrets\.([^{}\x00-\x1f\x7f-\x9f]+)\}")
"""What E2B's `Secret.fill(name)` gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretWish:
    """What of a secret is to be set; None leaves it as it is."""

    value: str | None = field(default=None, repr=False)
    metadata: Mapping[str, str] | None = None
    hosts: Sequence[str] | None = None
    description: str | None = None


class SandboxSecrets:
    """The verbs on secrets; each is for one owner, and other owners' secrets do not exist."""

    def __init__(self, rows: SandboxSecretRows, envelopes: Envelopes, clock: Clock) -> None:
        self._rows = rows
        self._envelopes = envelopes
        self._clock = clock

    async def create(self, owner: str, name: str, wish: SecretWish) -> SandboxSecret:
        """Keep a new secret.

        Raises:
            ApiError: `conflict`: there is one of that name.
        """
        now = self._clock.now()
        id_ = new_id("key")
        row = SandboxSecret(
            id=id_,
            owner=owner,
            name=name,
            sealed=await self._sealed(owner, id_, name, wish.value or ""),
            metadata=wish.metadata or {},
            hosts=tuple(wish.hosts or ()),
            description=wish.description or "",
            created_at=now,
            updated_at=now,
        )
        try:
            await self._rows.add(row)
        except RowConflict:
            raise ApiError(CONFLICT, f"There is a secret {name!r} already; update it, or choose another name") from None
        return row

    async def get(self, owner: str, reference: str) -> SandboxSecret:
        """Return the secret with that id or name; sealed, and nobody renders that.

        Raises:
            ApiError: `not_found`.
        """
        row = await self._rows.find(owner, reference)
        if row is None:
            raise ApiError(NOT_FOUND, f"There is no secret {reference[:200]!r}")
        return row

    async def list(self, owner: str, limit: int, after: str = "") -> Sequence[SandboxSecret]:
        """Return secrets by name, from the one after the name `after`."""
        return await self._rows.list(owner, limit=limit, after=after)

    async def update(self, owner: str, reference: str, wish: SecretWish) -> SandboxSecret:
        """Set what is wished; a new value is a new version. Sandboxes that have the old value keep it.

        Raises:
            ApiError: `not_found`; `conflict`: somebody else changed it at the same time.
        """
        row = await self.get(owner, reference)
        fields = {"metadata": wish.metadata, "hosts": None if wish.hosts is None else tuple(wish.hosts), "description": wish.description}
        changed = replace(row, updated_at=self._clock.now(), **{name: value for name, value in fields.items() if value is not None})
        if wish.value is not None:
            sealed = await self._sealed(owner, row.id, row.name, wish.value)
            changed = replace(changed, sealed=sealed, version=row.version + 1)
        if not await self._rows.change(changed, row.version):
            raise ApiError(CONFLICT, f"The secret {row.name!r} was changed at the same time; look, and try again")
        return changed

    async def remove(self, owner: str, reference: str) -> SandboxSecret:
        """Forget a secret and return what it was. Sandboxes that have its value keep it.

        Raises:
            ApiError: `not_found`.
        """
        row = await self.get(owner, reference)
        await self._rows.remove(row.id)
        return row

    async def filled(self, owner: str, env: Mapping[str, str], bound: Mapping[str, str]) -> Mapping[str, str]:
        """Return a sandbox's variables: `env` with the placeholders of `Secret.fill` replaced, and with what `bound` names.

        Raises:
            ApiError: `invalid_request`: a secret is not there.
        """
        wanted = {name for value in env.values() for name in _PLACEHOLDER.findall(value)} | set(bound.values())
        values = {name: await self._value(owner, name) for name in wanted}
        filled = {variable: _PLACEHOLDER.sub(lambda found: values[found[1]], value) for variable, value in env.items()}
        return filled | {variable: values[name] for variable, name in bound.items()}

    async def renew(self) -> tuple[int, int]:
        """Put every value's key under the newest master key; return how many were changed, and how many cannot be opened."""
        changed = broken = 0
        for row in await self._rows.everyone():
            try:
                sealed = await self._envelopes.renew(row.sealed, "sandbox-secret", row.owner, row.id)
            except EnvelopeBroken:
                broken += 1
            else:
                changed += sealed is not None and await self._rows.change(replace(row, sealed=sealed), row.version)
        return changed, broken

    async def _value(self, owner: str, name: str) -> str:
        row = await self._rows.find(owner, name)
        if row is None:
            raise ApiError(INVALID_REQUEST, f"There is no secret {name[:200]!r} to give to the sandbox", details={"secret": name[:200]})
        try:
            return (await self._envelopes.open(row.sealed, "sandbox-secret", row.owner, row.id)).decode()
        except (EnvelopeBroken, NoMasterKey) as error:
            raise alarm(error, f"the secret {row.name!r}") from None

    async def _sealed(self, owner: str, id_: str, name: str, value: str) -> str:
        try:
            return await self._envelopes.seal(value.encode(), "sandbox-secret", owner, id_)
        except NoMasterKey as error:
            raise alarm(error, f"the secret {name!r}") from None
