"""Everything that is checked before anything runs: each call of a request becomes prepared, or is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from sandkit.wire.gateway import NOT_FOUND, PERMISSION_DENIED, Refusal
from sandyard.services.prefabs.neighbours import CallRef
from sandyard.services.prefabs.prepared import Prepared
from sandyard.services.prefabs.schemas import check_inputs
from sandyard.services.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.domain.callers import Caller
    from sandyard.domain.calls import Call
    from sandyard.domain.prefabs import Function
    from sandyard.ports import Clock
    from sandyard.services.prefabs.neighbours import Audit, CallFiles, CallSecrets, ChildTokens, InputFile, Quotas
    from sandyard.services.prefabs.prepared import Known, Slot
    from sandyard.services.prefabs.registry import Published, Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The parts around the core (`neighbours.py` says what each one does)."""

    files: CallFiles
    secrets: CallSecrets
    quotas: Quotas
    tokens: ChildTokens
    audit: Audit


class Preflight:
    """Prepares the calls of a request. What it has reserved belongs to the calls that it returns."""

    def __init__(self, registry: Registry, neighbours: Neighbours, clock: Clock, call_timeout: float) -> None:
        self._registry = registry
        self._neighbours = neighbours
        self._clock = clock
        self._call_timeout = call_timeout

    async def prepare(self, caller: Caller, job_id: str, calls: Sequence[Call], settled: Mapping[int, Known | Refusal]) -> list[Slot]:
        """Return each call prepared or refused, in order, but those that are `settled` (by their place) as they are; if this is given up,
        nothing stays reserved.
        """
        done: list[Slot] = []
        try:
            for place, call in enumerate(calls):
                try:
                    done.append(settled.get(place) or await self._prepare(caller, job_id, place, call))
                except Refusal as refusal:
                    done.append(refusal)
        except BaseException:
            await self.release(done)
            raise
        return done

    async def release(self, calls: Sequence[Slot]) -> None:
        """Give back what was reserved for calls that will not run."""
        with anyio.CancelScope(shield=True):
            for call in calls:
                if isinstance(call, Prepared):
                    await self._neighbours.quotas.release(call.ref)

    async def _prepare(self, caller: Caller, job_id: str, place: int, call: Call) -> Prepared:
        published, function = await self._function(caller, call)
        check_inputs(function, call.parameters, call.files, f"/calls/{place}/inputs")
        files = await self._files(caller, call.files)
        secrets = await self._neighbours.secrets.for_call(caller, call.prefab_id, function.secrets)
        ref = CallRef(
            id=f"{job_id}.{place}",
            job_id=job_id,
            prefab_id=call.prefab_id,
            version=published.version.version,
            function=function.name,
            ends_at=self._clock.now() + 2 * self._call_timeout,  # a call may wait for its turn and for its sandbox
            prefabs=published.manifest.prefabs,
        )
        await self._neighbours.quotas.reserve(caller, ref)
        return Prepared(
            caller=caller,
            ref=ref,
            version_id=published.version.id,
            manifest=published.manifest,
            function=function,
            parameters=call.parameters,
            files=files,
            secrets=secrets,
            redactor=Redactor(secrets.values()),
        )

    async def _function(self, caller: Caller, call: Call) -> tuple[Published, Function]:
        published = await self._registry.resolve(caller, call.prefab_id, call.version)
        if not caller.may_call(call.prefab_id):
            raise Refusal(PERMISSION_DENIED, f"This token may not call {call.prefab_id!r}", prefab_id=call.prefab_id)
        function = published.manifest.function(call.function)
        if function is None:
            raise Refusal(
                NOT_FOUND,
                f"The prefab {call.prefab_id!r} {published.version.version} has no function {call.function[:100]!r}",
                prefab_id=call.prefab_id,
                version=published.version.version,
                function_name=call.function[:100],
            )
        return published, function

    async def _files(self, caller: Caller, files: Mapping[str, Sequence[str]]) -> Sequence[tuple[str, InputFile]]:
        return [(key, file) for key, urls in files.items() for file in await self._neighbours.files.check(caller, urls)]
