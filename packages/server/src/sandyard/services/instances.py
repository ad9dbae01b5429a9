"""Instances that report here: in memory, since each of them reports again within half a minute."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandkit.wire.errors import NOT_FOUND, ApiError
from sandkit.wire.instances import InstanceInfo, Wanted

if TYPE_CHECKING:
    from sandkit.wire.instances import Action, Heartbeat

MAX_PER_OWNER = 1000
"""More are forgotten, those first that have been silent the longest."""
FORGET_SECONDS = 600.0
"""An instance that has been silent for so long is gone."""


@dataclass(slots=True)
class _Instance:
    beat: Heartbeat
    seen_at: float
    pending: Action = "none"


class Instances:
    """What is known of them, by owner and id. Times are Unix seconds."""

    def __init__(self) -> None:
        self._owners: dict[str, OrderedDict[str, _Instance]] = {}

    def heard(self, owner: str, instance_id: str, beat: Heartbeat, now: float) -> None:
        """Note a heartbeat."""
        mine = self._owners.setdefault(owner, self._of(owner))
        before = mine.get(instance_id)
        mine[instance_id] = _Instance(beat, now, before.pending if before else "none")
        mine.move_to_end(instance_id)
        if len(mine) > MAX_PER_OWNER:
            mine.popitem(last=False)

    def wanted(self, owner: str, instance_id: str) -> Wanted:
        """Return what the instance shall do, and forget it: it is told once."""
        instance = self._of(owner).get(instance_id)
        if instance is None or instance.pending == "none":
            return Wanted(updated=False, action="none")
        action, instance.pending = instance.pending, "none"
        return Wanted(updated=True, action=action)

    def ask(self, owner: str, instance_id: str, action: Action) -> None:
        """Have the instance do something, at its next heartbeat.

        Raises:
            ApiError: it has never reported, or not for long.
        """
        instance = self._of(owner).get(instance_id)
        if instance is None:
            raise ApiError(NOT_FOUND, f"No instance {instance_id!r} has reported here")
        instance.pending = action

    def all(self, owner: str, now: float) -> list[InstanceInfo]:
        """Return the instances that have reported lately, the newest report last."""
        mine = self._of(owner)
        for instance_id in [key for key, one in mine.items() if now - one.seen_at > FORGET_SECONDS]:
            del mine[instance_id]
        return [
            InstanceInfo(id=key, status=one.beat.status, seen_at=one.seen_at, metrics=one.beat.metrics, pending=one.pending)
            for key, one in mine.items()
        ]

    def _of(self, owner: str) -> OrderedDict[str, _Instance]:
        return self._owners.get(owner) or OrderedDict[str, _Instance]()
