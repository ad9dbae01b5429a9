"""Saving a sandbox: a child of the keeper that copies what the sandbox wrote, while that stands still.

It works in the sandbox's directory, which no sandbox sees and which goes with it, and moves the whole to its place at the end: a save
that was cut short is nowhere. It dies with the keeper.
"""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandyard import trees

from . import layers, processes, saved, syscalls, uids
from .sandbox import SAVING
from .staging import SPACE, STAGE, UPPER, WHOLE, opaque_attribute

if TYPE_CHECKING:
    from collections.abc import Callable

    from .host import Host
    from .loop import Loop
    from .records import Record
    from .sandbox import Sandbox

_RESULT_SIZE = 16 * 1024
_USER_ID = 1000
_NOBODY = 65534
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Saving:
    """One save under way; `then` is called once with its size in bytes, or a sentence that says why there is none.

    The sandbox stands still while it is copied, and runs on while the disk takes what was copied. The state is moved to `into`, a
    path, and not by a descriptor of the server's: its mounts may be others than the keeper's.
    """

    def __init__(self, loop: Loop, host: Host, sandbox: Sandbox, into: str) -> None:
        self._loop = loop
        self._sandbox = sandbox
        self._directory = sandbox.directory
        self.then: list[Callable[[int | str], None]] = []
        sandbox.stand_still()
        job = _Job(sandbox.record, host, self._directory, Path(into))
        self._begin(lambda result: _save(job, result), lambda size: self._on_copied(job, size))

    def cancel(self) -> None:
        """End it; `then` follows."""
        processes.kill(self._worker)

    def _begin(self, work: Callable[[int], None], then: Callable[[int], None]) -> None:
        """Do `work` in a child, which writes a size to the descriptor that it is given; go on with that."""
        self._result = os.memfd_create("result", os.MFD_CLOEXEC)
        try:
            _, self._worker = processes.fork(lambda: work(self._result), errors=self._result)
        except BaseException:
            os.close(self._result)
            raise
        self._loop.watch(self._worker, lambda: self._on_worker(then))

    def _on_worker(self, then: Callable[[int], None]) -> None:
        self._loop.unwatch(self._worker)
        os.close(self._worker)
        text = os.pread(self._result, _RESULT_SIZE, 0).decode(errors="replace")
        os.close(self._result)
        if text.isdigit():
            then(int(text))
            return
        lines = [line for line in text.splitlines() if line.strip()]
        self._discard(lines[-1].strip() if lines else "it was cut short")

    def _on_copied(self, job: _Job, size: int) -> None:
        with suppress(OSError):  # it has ended meanwhile
            self._sandbox.move_on()
        try:
            self._begin(lambda result: _keep(job, size, result), self._finish)
        except OSError as error:
            self._discard(str(error))

    def _discard(self, reason: str) -> None:
        _, self._worker = processes.fork(lambda: layers.remove(None, str(self._directory / SAVING)))
        self._loop.watch(self._worker, lambda: self._on_discarded(reason))

    def _on_discarded(self, reason: str) -> None:
        self._loop.unwatch(self._worker)
        os.close(self._worker)
        self._finish(f"The sandbox could not be saved: {reason}")

    def _finish(self, result: int | str) -> None:
        with suppress(OSError):  # it has ended meanwhile
            self._sandbox.move_on()
        for hear in self.then:
            hear(result)


@dataclass(frozen=True, slots=True)
class _Job:
    record: Record
    host: Host
    directory: Path
    into: Path


def _save(job: _Job, result: int) -> None:
    """Write the state beside its place, and say how large it is. Runs in the child."""
    syscalls.die_with_parent(signal.SIGKILL)
    place = job.directory / SAVING
    if job.directory.stat().st_dev != job.into.parent.stat().st_dev:
        raise OSError(errno.EXDEV, "it must lie on the file system of the data directory")
    place.mkdir(mode=0o700)
    state = _write_parts(job.record, job.host, place)
    (place / saved.NAME).write_text(state.text())
    os.write(result, str(state.size_bytes).encode())


def _keep(job: _Job, size: int, result: int) -> None:
    """Move what was written to its place, once the disk has it: what is told to be saved survives a power cut. Runs in the child."""
    syscalls.die_with_parent(signal.SIGKILL)
    place = job.directory / SAVING
    trees.settle(place)
    if os.path.lexists(job.into):
        raise FileExistsError(errno.EEXIST, f"{job.into.name} exists already")
    place.rename(job.into)
    trees.settle_entries(job.into.parent)
    os.write(result, str(size).encode())


def _write_parts(record: Record, host: Host, place: Path) -> saved.State:
    """Write a layer for each part: what the sandbox began with, and over that what it changed."""
    space = os.open(f"/proc/{record.outer}/root{SPACE}", _DIRECTORY)
    before = saved.read(Path(record.restored)) if record.restored is not None else None
    parts: list[str] = []
    whole: list[str] = list(before.whole) if before is not None else []
    opaque = opaque_attribute(user_namespace=host.user_namespace)
    size = 0
    for name in sorted(os.listdir(space)):  # noqa: PTH208 (it is a descriptor)
        upper = _open_below(space, name, UPPER)
        if upper is None:
            continue
        (place / name).mkdir(mode=0o700)
        target = os.open(place / name, _DIRECTORY)
        is_whole = _open_below(space, name, WHOLE) is not None
        below = () if is_whole else _bases(record, name)
        if before is not None and name in before.parts and not is_whole:
            merge = layers.Merge(owner=_kept(host), opaque=opaque, link=True, below=below)
            _run(merge, os.open(Path(record.restored or "", name), _DIRECTORY), target)
        _run(layers.Merge(owner=_inside(record, host), opaque=opaque, below=below), upper, target)
        size += layers.size(target)
        parts.append(name)
        if is_whole and name not in whole:
            whole.append(name)
        os.close(target)
    return saved.State(
        system=record.system,
        image=record.image,
        owners="ids" if record.uid is not None and not host.user_namespace else "server",
        parts=tuple(parts),
        whole=tuple(whole),
        size_bytes=size,
    )


def _run(merge: layers.Merge, source: int, target: int) -> None:
    merge.run(source, target)
    os.close(source)


def _bases(record: Record, name: str) -> tuple[int, ...]:
    """Return what a part lies on, for as long as the child lives."""
    return tuple(os.open(f"/proc/{record.outer}/root{STAGE}/{base}", _DIRECTORY) for base in record.bases.get(name, ()))


def _kept(host: Host) -> Callable[[int], int] | None:
    """Return how owners go from one saved state to another: unchanged."""
    return None if host.uids is None or host.user_namespace else lambda stored: stored


def _inside(record: Record, host: Host) -> Callable[[int], int] | None:
    """Return how owners in the space become those inside; where those cannot be written down, everything is the server's."""
    first = record.uid
    if first is None:
        return None
    if host.user_namespace:
        return lambda _: os.geteuid()
    if record.ids == 1:
        return lambda host: _USER_ID if host == first else 0
    return lambda host: host - first if first <= host < first + uids.RANGE else _NOBODY


def _open_below(space: int, name: str, below: str) -> int | None:
    """Return what lies in a part's directory, or None: the directory holds what we made there, the sandbox sees parts of it only."""
    try:
        return os.open(f"{name}/{below}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=space)
    except FileNotFoundError:
        return None
