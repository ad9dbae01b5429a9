"""One sandbox's life as its keeper sees it: launched or adopted, known by pidfds, frozen, killed, cleaned up."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from typing import TYPE_CHECKING, Any

from sandyard.domain.specs import PROXY_PORT, Limits

from . import achieved, descriptors, launcher, layers, measuring, processes, records
from .lines import LINE_LIMIT, Lines

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

    from .cgroups import Group
    from .spares import Spare
    from .surroundings import Surroundings

SAVING = "saving"
"""The place, in a sandbox's directory, of a save under way."""
_KILL_PATIENCE = 5.0
_DYING = 0.1
"""Seconds within which the pidfd tells of a death because of which something in /proc is out of reach."""
_STATUSES = range(256)
"""What an exit code or a signal can be; the guest is believed no other."""


class Sandbox:
    """Made by `launch` or `adopt`; tells its owner `on_started`, `on_listening` and, once nothing runs any more, `on_ended`."""

    def __init__(self, around: Surroundings, record: records.Record, group: Group | None) -> None:
        self._around = around
        self._group = group
        self._first: int | None = None
        self._outer: int | None = None
        self._network: int | None = None
        self._errors: int | None = None
        self._pipes: tuple[Lines, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._report: dict[str, Any] = {}
        self._doomed = ""
        self.record = record
        self.listener: socket.socket | None = None

    @property
    def directory(self) -> Path:
        return self._around.host.sandboxes / self.record.sandbox_id

    @property
    def ended(self) -> bool:
        return self.record.ended is not None

    @property
    def frozen(self) -> bool:
        return self.record.stopped or (self._group is not None and self._group.can_freeze and self._group.frozen)

    # -- beginning ---------------------------------------------------------------------------------------------------------------

    @classmethod
    def launch(cls, around: Surroundings, request: Mapping[str, Any], config: int, *, alone: bool) -> Sandbox:
        """Begin to start what `request` asks for; `config` is the guest's, and closed here.

        Raises:
            OSError: the machine refused; nothing is left.
        """
        host, plan = around.host, request["plan"]
        spare = None if around.volumes.returning() else around.spares.take(plan)
        ids = (spare.uid, spare.ids) if spare is not None else host.take_uids(plan)
        name = spare.group_name if spare is not None else request["sandbox"]
        sandbox = cls(around, records.begun(request, *ids, name), host.group(name))
        around.volumes.hold(sandbox.record)
        try:
            if spare is not None:
                sandbox._watch_outer(spare.pid, spare.pidfd)
            sandbox.directory.mkdir(mode=0o700)
            if sandbox._group is not None:
                sandbox._group.make()
                sandbox._group.limit(Limits(**request["limits"]))
            sandbox._begin(plan, config, spare, alone=alone)
            around.spares.begun(sandbox.record.sandbox_id, plan)
        except OSError:
            sandbox._undo()
            raise
        finally:
            os.close(config)
            if spare is not None:
                spare.sock.close()
        return sandbox

    def _begin(self, plan: Mapping[str, Any], config: int, spare: Spare | None, *, alone: bool) -> None:
        host, loop = self._around.host, self._around.loop
        ends = descriptors.Ends(self.directory / records.OUTPUT, host.filter, config)
        self._errors = ends.errors
        self._pipes = (Lines(loop, ends.info, self._on_info), Lines(loop, ends.status, self._on_status))
        job = launcher.Job(
            plan=plan,
            uid=self.record.uid,
            descriptors=ends.theirs,
            enter=tuple(map(str, self._group.enter_paths)) if self._group else (),
            user_namespace=host.user_namespace,
            alone=alone,
            wait_for=self._around.volumes.returning(),
        )
        try:
            if spare is None:
                self._watch_outer(*processes.fork(lambda: launcher.launch(job)))
            self.record.write(self.directory)
            if spare is not None:
                spare.go(job)
        finally:
            ends.hand_over()

    def _watch_outer(self, pid: int, pidfd: int) -> None:
        self._outer = pidfd
        self._around.loop.watch(pidfd, self._on_outer)
        self.record = self.record.evolve(outer=pid, outer_started=processes.started(pid))

    def _undo(self) -> None:
        """Leave nothing of a launch that failed."""
        if self._outer is not None:
            self._kill_outer()
            processes.wait(self._outer, _DYING)
            self._outer = self._closed(self._outer)
        for pipe in self._pipes:
            pipe.close()
        self._clean()
        self._around.host.free_uids(self.record.uid, self.record.ids)
        self._around.volumes.let_go(self.record, lambda: None)
        records.remove(self.directory)

    @classmethod
    def of_record(cls, around: Surroundings, record: records.Record) -> Sandbox:
        """Return what an earlier keeper started, not yet taken over."""
        return cls(around, record, around.host.group(record.group))

    def take_over(self) -> None:
        """Take hold of its processes. If it has died meanwhile, its end is told as it would have been."""
        record, loop = self.record, self._around.loop
        if record.ended is not None:
            return
        self._around.host.adopt_uids(record)
        self._around.volumes.hold(record)
        self._outer = processes.opened(record.outer, record.outer_started)
        if self._outer is not None:
            loop.watch(self._outer, self._on_outer)
        if record.first is not None and record.first_started is not None:
            self._first = processes.opened(record.first, record.first_started)
            if self._first is not None:
                self._hold(record.first)
                self._forget_save()
        elif self._outer is not None:
            processes.kill_with_children(record.outer, self._outer)  # half started: nobody waits for it any more
        self._end_if_over()

    # -- what is heard -----------------------------------------------------------------------------------------------------------

    def _on_info(self, message: Mapping[str, Any]) -> None:
        """The launcher's notes, then bubblewrap's status: neither has been inside."""
        if "notes" in message:
            self._notes = tuple(message["notes"])
        if "child-pid" in message:
            self._on_first_process(message["child-pid"])

    def _on_first_process(self, pid: int) -> None:
        """Take hold of the sandbox's first process; where it has died already, the outer one's end will tell."""
        try:
            if not (self.record.bare and pid == self.record.outer) and processes.parent(pid) != self.record.outer:
                return
            started = processes.started(pid)
            self._first = processes.opened(pid, started)
        except ProcessLookupError:
            return
        if self._first is None:
            return
        if trouble := self._hold(pid):
            self.kill(f"its way out cannot be made: {trouble}")
        self.record = self.record.evolve(first=pid, first_started=started, isolation=self._achieved())
        try:
            self.record.write(self.directory)
        except OSError as error:  # what cannot be adopted must not be started
            self.kill(f"its record cannot be written: {error.strerror}")
        if self._doomed:
            processes.kill(self._first)
        else:
            self._around.owner.on_started(self)

    def _hold(self, pid: int) -> str:
        """Watch the first process and listen for its way out; return why that cannot be done. Its death is no reason."""
        assert self._first is not None
        self._around.loop.watch(self._first, self._on_first)
        try:
            network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            if processes.wait(self._first, 0):  # the number may be another's by now
                os.close(network)
                return ""
            self._network = network
            self.listener = self._around.host.listener_in(self._network, PROXY_PORT)
        except OSError as error:
            if processes.wait(self._first, _DYING):
                return ""
            return f"something else listens on port {PROXY_PORT}" if error.errno == errno.EADDRINUSE else str(error)
        return ""

    def _on_status(self, message: Mapping[str, Any]) -> None:
        match message.get("event"):
            case "listening" if not self.record.listening:
                self.record = self.record.evolve(listening=True)
                self.record.write(self.directory)
                self._around.owner.on_listening(self)
            case "exited":
                self._report = {key: message[key] for key in ("code", "signal") if message.get(key) in _STATUSES}
            case _:
                pass

    def _on_first(self) -> None:
        self._first = self._closed(self._first)
        if self._group is not None:
            self._group.kill()
        self._end_if_over()

    def _on_outer(self) -> None:
        self._outer = self._closed(self._outer)
        self._end_if_over()

    # -- acting ------------------------------------------------------------------------------------------------------------------

    def held(self) -> int:
        """Return the pidfd of its first process, which stays ours.

        Raises:
            ProcessLookupError: the sandbox has ended.
        """
        if self._first is None:
            raise ProcessLookupError(self.record.sandbox_id)
        return self._first

    def socket(self) -> socket.socket:
        """Return a new socket in the sandbox's network.

        Raises:
            ProcessLookupError: the sandbox has ended.
        """
        self.held()
        if self._network is None:
            raise ProcessLookupError(self.record.sandbox_id)
        return self._around.host.socket_in(self._network)

    def freeze(self) -> None:
        self._set_frozen(frozen=True)

    def thaw(self) -> None:
        self._set_frozen(frozen=False)

    def _set_frozen(self, *, frozen: bool) -> None:
        """Raises ProcessLookupError if the sandbox has ended, TimeoutError if the kernel did not confirm in time."""
        if self._first is None or self.record.first is None:
            raise ProcessLookupError(self.record.sandbox_id)
        if self._group is not None and self._group.can_freeze:
            (self._group.freeze if frozen else self._group.thaw)(timeout=2.0)
        elif self.record.bare:
            raise OSError(errno.EOPNOTSUPP, "without isolation only a control group can stop a sandbox, and there is none")
        else:
            processes.signal_all(self._first, signal.SIGSTOP if frozen else signal.SIGCONT)
            if frozen:
                processes.wait_until_stopped(self.record.first, self._first, 2.0)
            self.record = self.record.evolve(stopped=frozen)
            self.record.write(self.directory)

    def stand_still(self) -> None:
        """Freeze it for a save; `move_on` undoes that, also by another keeper.

        Raises:
            ProcessLookupError: it has ended.
            OSError: it cannot be saved, or not now.
        """
        if self.record.bare:
            raise OSError(errno.EOPNOTSUPP, "without isolation a sandbox has no files of its own that could be saved")
        if not self.frozen:
            self.record = self.record.evolve(saving=True)
            self.record.write(self.directory)
            self.freeze()

    def move_on(self) -> None:
        """Let it run on after a save, if it ran before."""
        if self.record.saving:
            self.record = self.record.evolve(saving=False)
            self.thaw()
            self.record.write(self.directory)

    def _forget_save(self) -> None:
        """Undo a save in which an earlier keeper died; who carried it out died with that."""
        if (self.directory / SAVING).exists():
            _, pidfd = processes.fork(lambda: layers.remove(None, str(self.directory / SAVING)))
            os.close(pidfd)
        with contextlib.suppress(OSError):  # it is just dying: its end will be told
            self.move_on()

    def usage(self) -> dict[str, Any]:
        """Return the fields of `domain.specs.Usage`.

        Raises:
            ProcessLookupError: it has ended.
        """
        return measuring.usage(self.record, self._group)

    def extend(self, ends_at: float) -> None:
        self.record = self.record.evolve(ends_at=ends_at)
        self.record.write(self.directory)

    def kill(self, cause: str) -> None:
        """End it: the first process's death is the death of all inside; `on_ended` follows."""
        if self.ended:
            return
        self._doomed = self._doomed or cause
        if self._first is not None and self.record.bare and self._group is None:
            signal.pidfd_send_signal(self._first, signal.SIGTERM)  # the guest ends the others
            self._around.loop.call_later(_KILL_PATIENCE, self._kill_outer)
        elif self._first is not None:
            processes.kill(self._first)
        else:  # also with a group: that of an adopted sandbox may have gone
            self._around.loop.call_later(_KILL_PATIENCE, self._kill_outer)
        if self._group is not None:
            self._group.kill()

    def _kill_outer(self) -> None:
        if self._outer is not None:
            processes.kill_with_children(self.record.outer, self._outer)

    # -- ending ------------------------------------------------------------------------------------------------------------------

    def _end_if_over(self) -> None:
        if self._first is not None or self._outer is not None or self.ended:
            return
        for pipe in self._pipes:
            pipe.drain()
        facts = self._facts()
        self._clean()
        self._around.volumes.let_go(self.record, lambda: self._settle(facts))

    def _facts(self) -> dict[str, Any]:
        """What the `exited` event says; the words for people are the server's."""
        return {
            **self._report,
            "oom": self._group.oom_kills() if self._group else 0,
            "memory": self.record.memory_bytes,
            "cause": self._doomed,
            "errors": self._error_text(),
            "subject": self.record.subject,
            "reported": bool(self._report),
        }

    def _error_text(self) -> str:
        if self._errors is None:
            return ""
        return os.pread(self._errors, descriptors.ERRORS_SIZE, 0).rstrip(b"\0").decode(errors="replace")[-LINE_LIMIT:]

    def _settle(self, facts: dict[str, Any]) -> None:
        self._around.host.free_uids(self.record.uid, self.record.ids)
        self.record = self.record.evolve(ended=facts, isolation=self.record.isolation or self._achieved())
        with contextlib.suppress(OSError):  # a full disk must not keep the end from being told
            self.record.write(self.directory)
        self._around.owner.on_ended(self)

    def _clean(self) -> None:
        """Let go of all that the kernel holds for it. Idempotent."""
        if self._group is not None:
            self._group.kill()
            self._group.remove()
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        for fd in (self._network, self._errors):
            if fd is not None:
                os.close(fd)
        self._network = self._errors = None

    def _closed(self, fd: int | None) -> None:
        if fd is not None:
            self._around.loop.unwatch(fd)
            os.close(fd)

    def _achieved(self) -> dict[str, Any]:
        return achieved.fields(self.record, self._around.host, self._group, self._notes)
