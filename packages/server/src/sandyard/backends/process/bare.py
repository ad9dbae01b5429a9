"""A launch without isolation, for development where the machine grants none: the guest runs as the keeper's user, among its files.

What a mount would have shown is a path on the host (`plan.bare` rewrites the command); only the network is the sandbox's own where
that is allowed, because agents all want the same port.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from . import syscalls

if TYPE_CHECKING:
    from .launcher import Job

_SIOCSIFFLAGS = 0x8914
_UP_AND_RUNNING = 0x41
_NOTES = 7
_SHARED_PORTS = "It shares the ports of the machine, so it is the only sandbox that can run."


def prepare(job: Job) -> None:
    """Do what stands for staging: copies of what will be changed, a network, and our pid for the keeper.

    Raises:
        OSError: the ports of the machine are in use by another sandbox.
    """
    notes: list[str] = []
    try:
        syscalls.unshare(syscalls.NEWNET)
        _raise_loopback()
    except PermissionError:
        if not job.alone:
            raise OSError("without isolation and without the right to make a network there can be one sandbox at a time") from None
        notes.append(_SHARED_PORTS)
    for tree in job.plan["trees"]:
        shutil.copytree(tree["source"], tree["name"], symlinks=True)
    Path(job.plan["home"]).mkdir(parents=True, exist_ok=True)
    for line in ({"notes": notes}, {"child-pid": os.getpid()}):
        os.write(_NOTES, json.dumps(line).encode() + b"\n")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _UP_AND_RUNNING))
