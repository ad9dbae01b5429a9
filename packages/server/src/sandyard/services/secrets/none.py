"""No secrets are kept: functions that need none can be called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandkit.wire.gateway import MISSING_SECRET, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.domain.callers import Caller
    from sandyard.domain.prefabs import SecretNeed


class NoSecrets:
    """`neighbours.CallSecrets` of a platform that keeps none."""

    async def for_call(self, caller: Caller, prefab_id: str, needs: Sequence[SecretNeed]) -> Mapping[str, str]:
        del caller
        for need in needs:
            if need.required:
                message = f"The prefab {prefab_id!r} needs the secret {need.name}, which is not set"
                raise Refusal(MISSING_SECRET, message, prefab_id=prefab_id, secret_name=need.name, instructions=need.instructions)
        return {}
