"""What the keeper has of this machine: its data directory, uids, control groups and network namespace."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import processes, records, seccomp, syscalls, uids
from .cgroups import Cgroups

if TYPE_CHECKING:
    from collections.abc import Iterator

_IP_FREEBIND = 15
_TCP = 6  # asyncio sets TCP_NODELAY only on sockets that name their protocol
_BACKLOG = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Made once, when the keeper starts. `uids` is None where all sandboxes share the keeper's uid."""

    sandboxes: Path
    uids: uids.Uids | None
    cgroups: Cgroups
    network: int
    """The keeper's own network namespace: the place to come back to."""
    user_namespace: bool
    filter: bytes

    @classmethod
    def of(cls, data_dir: Path) -> Host:
        """Look at the machine; as an ordinary user enter a user namespace in which we may do what root may.

        Raises:
            OSError: the machine grants no namespaces.
        """
        sandboxes = data_dir / "sandboxes"
        sandboxes.mkdir(mode=0o700, exist_ok=True)
        first_uid = uids.block(data_dir)
        scope = f"{(first_uid - uids.BASE) // uids.BLOCK:04x}"
        cgroups = Cgroups.discover(scope)
        ordinary = os.geteuid() != 0
        if ordinary:
            _enter_user_namespace(sandboxes)
        return cls(
            sandboxes=sandboxes,
            uids=None if ordinary else uids.Uids(first_uid),
            cgroups=cgroups,
            network=os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC),
            user_namespace=ordinary,
            filter=seccomp.program(),
        )

    def socket_in(self, network: int) -> socket.socket:
        """Return a new TCP socket that lives in the network namespace `network`."""
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


def _enter_user_namespace(sandboxes: Path) -> None:
    """Become powerful over what we start: in the namespace of sandboxes that live still, or in a new one."""
    uid, gid = os.geteuid(), os.getegid()
    if not any(_join(record) for record in _living(sandboxes)):
        syscalls.unshare(syscalls.NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    syscalls.unshare(syscalls.NEWNS | syscalls.NEWNET)
    syscalls.make_private()


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
