"""What the keeper has of this machine: its data directory, uids, control groups and network namespace."""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import processes, records, seccomp, syscalls, uids
from .cgroups import Cgroups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .cgroups import Group

_IP_FREEBIND = 15
_TCP = 6  # asyncio sets TCP_NODELAY only on sockets that name their protocol
_BACKLOG = 128
_COUNTED_BY_NAMESPACE = (5, 14)
_NOT_ROOT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Made once, when the keeper starts. `uids` is None where all sandboxes share the keeper's uid, `ranges` where none has a root."""

    sandboxes: Path
    uids: uids.Uids | None
    ranges: uids.Ranges | None
    cgroups: Cgroups
    network: int
    """The keeper's own network namespace: the place to come back to."""
    user_namespace: bool
    filter: bytes
    limits_inside: bool = False
    """Whether a sandbox's guest has to limit its processes, and can: where no control group does and no uid is its own."""

    @classmethod
    def of(cls, data_dir: Path, *, isolation: str) -> Host:
        """Look at the machine; as an ordinary user enter a user namespace in which we may do what root may.

        Raises:
            OSError: the machine grants no namespaces.
        """
        sandboxes = data_dir / "sandboxes"
        sandboxes.mkdir(mode=0o700, exist_ok=True)
        first_uid = uids.block(data_dir, {record.uid for record in _living(sandboxes) if record.uid is not None})
        cgroups = Cgroups.discover(f"{uids.number(data_dir):08x}")
        own_uids = isolation == "full" and os.geteuid() == 0 and _are_mapped(first_uid)
        limits_inside = isolation == "full" and not own_uids and "processes" not in cgroups.enforced and _counts_by_namespace()
        user_namespace = isolation == "full" and not (own_uids and _may_administer())
        if user_namespace:
            _enter_user_namespace(sandboxes, first_uid if own_uids else None)
        return cls(
            sandboxes=sandboxes,
            uids=uids.Uids(first_uid) if own_uids else None,
            ranges=uids.Ranges() if own_uids and not user_namespace and _covered(uids.RANGES_BASE, uids.RANGES * uids.RANGE) else None,
            cgroups=cgroups,
            network=os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC),
            user_namespace=user_namespace,
            filter=seccomp.program(),
            limits_inside=limits_inside,
        )

    def take_uids(self, plan: Mapping[str, Any]) -> tuple[int | None, int]:
        """Return the first of the uids that a sandbox gets, and how many.

        Raises:
            OSError: none is free.
        """
        if plan["bare"] or self.uids is None:
            return None, 1
        if plan["has_root"] and self.ranges is not None:
            return self.ranges.take(), uids.RANGE
        return self.uids.take(), 1

    def adopt_uids(self, record: records.Record) -> None:
        """Count those of a sandbox that an earlier keeper started as taken."""
        taken = self.uids if record.ids == 1 else self.ranges
        if record.uid is not None and taken is not None:
            taken.adopt(record.uid)

    def free_uids(self, uid: int | None, ids: int) -> None:
        """Take back what `take_uids` returned."""
        taken = self.uids if ids == 1 else self.ranges
        if uid is not None and taken is not None:
            taken.free(uid)

    def group(self, name: str) -> Group | None:
        """Return the control group of that name, made or not; None where the machine gives us none."""
        return self.cgroups.adopt(name) if self.cgroups.enforced or self.cgroups.can_freeze else None

    def socket_in(self, network: int) -> socket.socket:
        """Return a new TCP socket that lives in the network namespace `network`."""
        if os.path.samestat(os.fstat(network), os.fstat(self.network)):
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM, _TCP)
        syscalls.setns(network, syscalls.NEWNET)
        try:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM, _TCP)
        finally:
            syscalls.setns(self.network, syscalls.NEWNET)

    def listener_in(self, network: int, port: int) -> socket.socket:
        """Return a socket that listens on 127.0.0.1:`port` of that namespace, also before its loopback interface is up.

        Raises:
            OSError: somebody listens there already.
        """
        listener = self.socket_in(network)
        try:
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener


def _are_mapped(first_uid: int) -> bool:
    """Whether the user namespace that we are in has the block of uids: an unprivileged container's has not."""
    if _covered(first_uid, uids.BLOCK):
        return True
    if os.geteuid() == 0 and any(start == outside == 0 for start, outside, _ in _map()):
        raise OSError(errno.EPERM, "root has no other user ids here, and root's own is no sandbox: start the server as an ordinary user")
    return False


def _counts_by_namespace() -> bool:
    """Whether the kernel holds our processes to RLIMIT_NPROC, and counts each user namespace's alone: Linux 5.14, and never root's."""
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    ranges = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines())
    is_root = any(start <= os.geteuid() < start + count and outside + os.geteuid() - start == 0 for start, outside, count in ranges)
    return release >= _COUNTED_BY_NAMESPACE and not is_root


def _covered(first: int, count: int) -> bool:
    """Whether our own user namespace has all of these uids."""
    return any(start <= first and first + count <= start + length for start, _, length in _map())


def _map() -> list[tuple[int, int, int]]:
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    return [(int(inside), int(outside), int(count)) for inside, outside, count in map(str.split, lines)]


def _may_administer() -> bool:
    """Whether we are root of the machine, and could come back into its network from a sandbox's: without effect, but tried.

    Root of a user namespace only, even of one that maps every id, could not.
    """
    network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(network, syscalls.NEWNET)
    except PermissionError:
        return False
    finally:
        os.close(network)
    return True


def _enter_user_namespace(sandboxes: Path, first_uid: int | None) -> None:
    """Become powerful over what we start: in the namespace of sandboxes that live still, or in a new one.

    With `first_uid`, by root who may not administer the machine but may map uids: the block is mapped beside root itself.
    """
    if not any(_join(record) for record in _living(sandboxes)):
        if first_uid is None:
            _map_myself()
        else:
            _map_block(first_uid)
    syscalls.unshare(syscalls.NEWNS | syscalls.NEWNET)
    syscalls.make_private()


def _map_myself() -> None:
    """Map our own ids only. Not to 0: what bubblewrap, without a capability, could not map any further (Linux 5.12)."""
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid or _NOT_ROOT} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid or _NOT_ROOT} {gid} 1")


def _map_block(first_uid: int) -> None:
    """Have a child that stays outside write the maps: inside we could map nobody but ourselves."""
    myself = os.getpid()
    ready, done = os.pipe2(os.O_CLOEXEC)
    maps = f"0 0 1\n{first_uid} {first_uid} {uids.BLOCK}\n"

    def write_maps() -> None:
        os.close(done)
        os.read(ready, 1)
        Path(f"/proc/{myself}/uid_map").write_text(maps)
        Path(f"/proc/{myself}/gid_map").write_text(maps)

    _, pidfd = processes.fork(write_maps)
    syscalls.unshare(syscalls.NEWUSER)
    os.close(done)
    processes.wait(pidfd, 5.0)
    os.close(ready)
    os.close(pidfd)
    if not Path("/proc/self/uid_map").read_text():
        raise OSError(errno.EPERM, "unshare: root may not map user ids here (CAP_SETUID and CAP_SETFCAP are wanted)")


def _living(sandboxes: Path) -> Iterator[records.Record]:
    for directory in sandboxes.iterdir():
        record = records.read(directory)
        if record is not None and record.ended is None:
            yield record


def _join(record: records.Record) -> bool:
    pidfd = processes.opened(record.outer, record.outer_started)
    if pidfd is None:
        return False
    try:
        syscalls.setns(os.open(f"/proc/{record.outer}/ns/user", os.O_RDONLY | os.O_CLOEXEC), syscalls.NEWUSER)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True
