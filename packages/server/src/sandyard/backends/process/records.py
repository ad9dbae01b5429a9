"""What is known of one sandbox beyond the keeper's own life: `record.json` in its directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from . import layers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMMAND = "command"
"""The subject of a sandbox that ends with its command, and says nothing before."""
NAME = "record.json"
OUTPUT = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything that another keeper needs to adopt the sandbox, or to report its end.

    `outer` is bubblewrap's own process, `first` the first process inside, as host pids; start times (clock ticks since boot) tell
    them from later processes of the same number. `ended` is set once the sandbox has ended: the facts of its `exited` event.
    """

    sandbox_id: str
    ends_at: float
    subject: str
    """What it runs, for sentences: "agent" or "command"."""
    outer: int
    outer_started: int
    first: int | None = None
    first_started: int | None = None
    group: str = ""
    """The name of its control group."""
    uid: int | None = None
    ids: int = 1
    """How many uids from `uid` on are its own: with more than one, `uid` is 0 inside."""
    memory_bytes: int = 0
    limits: dict[str, Any] = field(default_factory=dict[str, Any])
    listening: bool = False
    stopped: bool = False
    """Frozen by signals, which the kernel does not remember for us."""
    bare: bool = False
    """Without isolation: no first process whose death is the others'."""
    shares: tuple[str, ...] = ()
    """Directories outside that it may write."""
    give_back: tuple[str, ...] = ()
    """Those of them that are the server's again when no sandbox uses them any more."""
    system: Literal["fixed", "writable"] = "fixed"
    image: str | None = None
    bases: dict[str, list[str]] = field(default_factory=dict[str, "list[str]"])
    """For each part that lies on something: the names of the trees, but for those that were saved."""
    restored: str | None = None
    """The saved state that it started with."""
    saving: bool = False
    """It stands still because it is being saved, and is to run on afterwards."""
    isolation: dict[str, Any] = field(default_factory=dict[str, Any])
    policy: dict[str, Any] = field(default_factory=dict[str, Any])
    ended: dict[str, Any] | None = None

    def evolve(self, **changes: Any) -> Record:
        return replace(self, **changes)

    def write(self, directory: Path) -> None:
        """Write it whole or not at all."""
        fresh = directory / f"{NAME}.new"
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(directory / NAME)


def begun(request: Mapping[str, Any], uid: int | None, ids: int, group: str) -> Record:
    """Return the record of a sandbox that is to be started as the keeper's `start` asks, without a process yet."""
    planned = request["plan"]
    shares = [tree for tree in planned["trees"] if tree["mode"] == "rw"] if uid is not None else []
    return Record(
        sandbox_id=request["sandbox"],
        ends_at=request["ends_at"],
        subject=request["subject"],
        bare=planned["bare"],
        outer=0,
        outer_started=0,
        group=group,
        uid=uid,
        ids=ids,
        memory_bytes=request["limits"]["memory_bytes"],
        limits=request["limits"],
        shares=tuple(tree["source"] for tree in shares),
        give_back=tuple(tree["source"] for tree in shares if not tree["shared"]),
        system=planned["system"],
        image=planned["image"],
        bases={part["name"]: [name for name in part["lower"] if not name.endswith(".saved")] for part in planned["parts"]},
        restored=planned["restored"],
        policy=request["policy"],
    )


def read(directory: Path) -> Record | None:
    """Return the directory's record, or None if there is none that can be read."""
    try:
        fields: dict[str, Any] = json.loads((directory / NAME).read_text())
        for name in ("shares", "give_back"):
            fields[name] = tuple(fields.get(name, ()))
        fields["group"] = fields.get("group") or fields["sandbox_id"]  # an earlier version's is named so
        return Record(**fields)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remove(directory: Path) -> None:
    """Remove a sandbox's directory; only a sandbox without isolation writes there. What cannot be removed stays."""
    try:
        layers.remove(None, str(directory))
    except OSError:
        return
