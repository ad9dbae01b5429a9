"""Launchers started ahead, for the keeper: what takes long and is the same for every sandbox is done before one is asked for.

Entering control groups waits for the kernel (10 to 20 ms), and user namespaces take a process each. A spare has uids that only its
sandbox will have, a control group and those namespaces, and nothing else: it holds no descriptor of the keeper's, has seen no
sandbox, serves one, and is gone when the keeper is. There is at most one of a kind, and at most `MOST`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import launcher, processes, protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .cgroups import Group
    from .host import Host
    from .loop import Loop

MOST = 2
_REST = 0.02
"""Seconds from when a sandbox can be used until the next spare is made: its first command goes first."""
_DYING = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What spares differ in: whether the sandbox is to have a root, and how many processes."""

    has_root: bool
    processes: int

    @classmethod
    def of(cls, plan: Mapping[str, Any]) -> Kind:
        return cls(plan["has_root"], plan["processes"])


class Spare:
    """One launcher that waits. `go` sends it on its way; `discard` ends it."""

    def __init__(self, host: Host, kind: Kind) -> None:
        """Raises OSError if the machine refuses; nothing is left then."""
        self._host = host
        self.ready = False
        self.group_name = f"spare-{secrets.token_hex(8)}"
        self.uid, self.ids = host.take_uids({"bare": False, "has_root": kind.has_root})
        self.group: Group | None = host.group(self.group_name)
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            enter = self._make_group()
            preparation = launcher.Preparation(uid=self.uid, has_root=kind.has_root, processes=kind.processes, enter=enter)
            self.pid, self.pidfd = processes.fork(lambda: launcher.stand_by(theirs.fileno(), preparation))
        except OSError:
            self.sock.close()
            self._give_back()
            raise
        finally:
            theirs.close()

    def go(self, job: launcher.Job) -> None:
        """Have it carry out the job. What it has is its sandbox's from now on.

        Raises:
            OSError: it has died.
        """
        try:
            protocol.send(self.sock, launcher.order(job), job.descriptors)
        except protocol.Closed as error:
            raise ConnectionError("the launcher that stood by has died") from error

    def discard(self) -> None:
        self.sock.close()
        processes.kill(self.pidfd)
        processes.wait(self.pidfd, _DYING)
        os.close(self.pidfd)
        self._give_back()

    def _make_group(self) -> tuple[str, ...]:
        if self.group is None:
            return ()
        self.group.make()
        return tuple(map(str, self.group.enter_paths))

    def _give_back(self) -> None:
        if self.group is not None:
            self.group.remove()
        self._host.free_uids(self.uid, self.ids)


class Spares:
    """Those of one keeper: who has been started has the next one of its kind made."""

    def __init__(self, host: Host, loop: Loop) -> None:
        self._host = host
        self._loop = loop
        self._waiting: dict[Kind, Spare] = {}
        self._starting: dict[str, Kind] = {}

    def take(self, plan: Mapping[str, Any]) -> Spare | None:
        """Return the spare that suits, if it has made itself ready; it is the caller's now."""
        if plan["bare"]:
            return None
        kind = Kind.of(plan)
        spare = self._waiting.get(kind)
        return self._forget(kind) if spare is not None and spare.ready and not processes.wait(spare.pidfd, 0) else None

    def begun(self, sandbox_id: str, plan: Mapping[str, Any]) -> None:
        """Hear that a start has begun; `started` follows."""
        if not plan["bare"]:
            self._starting[sandbox_id] = Kind.of(plan)

    def started(self, sandbox_id: str) -> None:
        """Hear that a start is over, however it went; what is made sooner would take its time. Idempotent."""
        kind = self._starting.pop(sandbox_id, None)
        if kind is not None:
            self._loop.call_later(_REST, lambda: self._make(kind))

    def close(self) -> None:
        """Leave nothing."""
        for kind in list(self._waiting):
            self._forget(kind).discard()

    def _make(self, kind: Kind) -> None:
        if kind in self._waiting:
            return
        if len(self._waiting) >= MOST:
            self._forget(next(iter(self._waiting))).discard()
        with contextlib.suppress(OSError):  # the next start does without, and says what is the matter
            spare = self._waiting[kind] = Spare(self._host, kind)
            self._loop.watch(spare.sock.fileno(), lambda: self._on_word(kind, spare))

    def _on_word(self, kind: Kind, spare: Spare) -> None:
        """It is ready, or it has died."""
        if spare.sock.recv(1):
            spare.ready = True
        else:
            self._forget(kind).discard()

    def _forget(self, kind: Kind) -> Spare:
        spare = self._waiting.pop(kind)
        self._loop.unwatch(spare.sock.fileno())
        return spare
