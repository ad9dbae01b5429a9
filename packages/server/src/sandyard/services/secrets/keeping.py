"""Secrets of users for the prefabs that they call: set, named, delivered to one call; never shown again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sandkit.wire.gateway import INTERNAL, MISSING_SECRET, NOT_FOUND, PERMISSION_DENIED, VALIDATION_ERROR, Refusal
from sandyard.domain.accounting import KeptSecret
from sandyard.domain.prefabs import PREFAB_ID, SECRET_NAME
from sandyard.services.envelopes import EnvelopeBroken, NoMasterKey
from sandyard.services.prefabs.manifests import RESERVED_SECRETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.domain.callers import Caller
    from sandyard.domain.prefabs import SecretNeed
    from sandyard.ports import Clock
    from sandyard.ports_accounting import SecretRows
    from sandyard.services.envelopes import Envelopes

LONGEST = 64 * 1024
"""Bytes of a value."""
_NAME = 128
_log = structlog.get_logger("sandyard.secrets")


class Secrets:
    """`neighbours.CallSecrets`, and what users do with their own."""

    def __init__(self, rows: SecretRows, envelopes: Envelopes, clock: Clock) -> None:
        self._rows = rows
        self._envelopes = envelopes
        self._clock = clock

    async def for_call(self, caller: Caller, prefab_id: str, needs: Sequence[SecretNeed]) -> Mapping[str, str]:
        """Return the caller's values for what the function needs; who is only known by an address has none."""
        if not needs:
            return {}
        kept = {} if caller.kind == "listed" else {row.name: row for row in await self._rows.list(caller.tenant, caller.user, prefab_id)}
        for need in needs:
            if need.required and need.name not in kept:
                message = f"The prefab {prefab_id!r} needs the secret {need.name}, which is not set"
                raise Refusal(MISSING_SECRET, message, prefab_id=prefab_id, secret_name=need.name, instructions=need.instructions)
        return {need.name: await self._open(kept[need.name]) for need in needs if need.name in kept}

    async def put(self, caller: Caller, prefab_id: str, name: str, value: object) -> None:
        """Set a secret.

        Raises:
            Refusal: VALIDATION_ERROR for a name that is reserved or none, or a value that is empty, too long or no text;
                PERMISSION_DENIED for who may only call.
        """
        _check_owner(caller)
        _check_name(prefab_id, name)
        if not isinstance(value, str) or not value or "\0" in value or len(value.encode("utf-8", "replace")) > LONGEST:
            raise _invalid("/value", f"must be a text of 1 to {LONGEST} bytes without NUL")
        now = self._clock.now()
        try:
            sealed = await self._envelopes.seal(value.encode(), *_bound(caller.tenant, caller.user, prefab_id, name))
        except UnicodeEncodeError:
            raise _invalid("/value", "must be a text") from None
        except NoMasterKey as error:
            raise _alarm(error, name) from None
        row = KeptSecret(
            owner=caller.tenant, user=caller.user, prefab_id=prefab_id, name=name, sealed=sealed, created_at=now, updated_at=now
        )
        await self._rows.put(row)

    async def list(self, caller: Caller, prefab_id: str | None = None) -> Sequence[KeptSecret]:
        """Return the caller's secrets; sealed, and nobody renders that."""
        _check_owner(caller)
        return await self._rows.list(caller.tenant, caller.user, prefab_id)

    async def remove(self, caller: Caller, prefab_id: str, name: str) -> None:
        """Forget a secret.

        Raises:
            Refusal: NOT_FOUND, PERMISSION_DENIED.
        """
        _check_owner(caller)
        _check_name(prefab_id, name)
        if not await self._rows.remove(caller.tenant, caller.user, prefab_id, name):
            raise Refusal(NOT_FOUND, f"There is no secret {name} for {prefab_id!r}", prefab_id=prefab_id, secret_name=name)

    async def renew(self) -> tuple[int, int]:
        """Put every value's key under the newest master key; return how many were changed, and how many cannot be opened."""
        changed = broken = 0
        for row in await self._rows.everyone():
            try:
                sealed = await self._envelopes.renew(row.sealed, *_bound(row.owner, row.user, row.prefab_id, row.name))
            except EnvelopeBroken:
                broken += 1
            else:
                changed += sealed is not None and await self._rows.reseal(row, sealed)
        return changed, broken

    async def _open(self, row: KeptSecret) -> str:
        try:
            return (await self._envelopes.open(row.sealed, *_bound(row.owner, row.user, row.prefab_id, row.name))).decode()
        except (EnvelopeBroken, NoMasterKey) as error:
            raise _alarm(error, row.name) from None


def _bound(owner: str, user: str, prefab_id: str, name: str) -> tuple[str, ...]:
    return ("prefab-secret", owner, user, prefab_id, name)


def _check_owner(caller: Caller) -> None:
    if caller.kind in {"child", "listed"} or caller.sandbox is not None:
        raise Refusal(PERMISSION_DENIED, "Secrets are kept by their user alone: with an API key, or a token that no sandbox holds")


def _check_name(prefab_id: str, name: str) -> None:
    if not PREFAB_ID.fullmatch(prefab_id):
        raise _invalid("/prefab_id", "is no id of a prefab")
    if not SECRET_NAME.fullmatch(name) or len(name) > _NAME:
        raise _invalid("/name", "must be upper-case letters, digits and underscores")
    if RESERVED_SECRETS.fullmatch(name):
        raise _invalid("/name", "is reserved: it changes how programs run")


def _invalid(pointer: str, message: str) -> Refusal:
    return Refusal(VALIDATION_ERROR, f"{pointer}: {message}", pointer=pointer)


def _alarm(error: Exception, name: str) -> Refusal:
    """Say to the operator what the caller shall not know."""
    _log.critical("a secret cannot be opened or sealed; look for a changed database or missing master keys", name=name, reason=str(error))
    return Refusal(INTERNAL, f"The secret {name} cannot be used now; the platform's operator has been told")
