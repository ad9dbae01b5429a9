"""Child tokens: what a running function may call the gateway with. Each is for one call, and ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandyard.services.origins import GATEWAY_URL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.domain.callers import Caller
    from sandyard.ports import Clock
    from sandyard.services.prefabs.neighbours import CallRef
    from sandyard.services.tokens import Tokens

_LEAST = 1.0


class Children:
    """`neighbours.ChildTokens`. Which calls run is held in memory: after a restart none does, and no token of before is good."""

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._running: set[str] = set()

    def mint(self, caller: Caller, ref: CallRef) -> Mapping[str, str]:
        """Return the function's variables. The token says for whom (`sub`), by which prefab (`act`), and which prefabs it may call:
        those that the manifest names, and of these only what the caller himself may.
        """
        self._running.add(ref.id)
        scope = [f"prefab:{prefab_id}" for prefab_id in ref.prefabs if caller.may_call(prefab_id)]
        claims = {"sub": caller.user, "tenant": caller.tenant, "act": {"sub": f"{ref.prefab_id}@{ref.version}"}, "call": ref.id}
        optional = {"agent": caller.agent, "key": caller.key, "sandbox": caller.sandbox}
        claims |= {name: value for name, value in optional.items() if value is not None}
        token = self._tokens.mint(max(_LEAST, ref.ends_at - self._clock.now()), {**claims, "scope": " ".join(scope)})
        return {"X_INTERNAL_TOKEN": token, "GATEWAY_BASE_URL": GATEWAY_URL}

    def end(self, ref: CallRef) -> None:
        """Refuse the call's token from now on."""
        self._running.discard(ref.id)

    def runs(self, call_id: object) -> bool:
        """Whether a call still runs."""
        return call_id in self._running
