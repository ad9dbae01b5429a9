"""The keeper's child that becomes bubblewrap: enters its cgroup, takes its descriptors, stages, gives up all power, executes."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import bare, processes, protocol, staging, syscalls
from .identities import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping

_DESCRIPTORS = 8
_NOTES = 7
_BARE_DESCRIPTORS = 6
_OPEN_FILES = 16384
_OUTSIDE_PROCESSES = 4
_RETURN_SECONDS = 30.0
_ORDERS = _DESCRIPTORS
LAUNCHER, SPARE = "sandyard-starts", "sandyard-spare"
"""What `ps` calls a launcher, and one that stands by: they would be shown as further keepers else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one launch needs. `descriptors` become 0, 1, 2, … of the new program."""

    plan: Mapping[str, Any]
    """`plan.Plan` as it travels."""
    uid: int | None
    """The sandbox's own host uid, or the first of its range; None where the keeper has no uids to give."""
    descriptors: tuple[int, ...]
    enter: tuple[str, ...] = ()
    """The cgroup files that take a 0."""
    alone: bool = True
    """No other sandbox lives."""
    user_namespace: bool = False
    """The keeper is in a user namespace of its own."""
    wait_for: tuple[int, ...] = ()
    """pidfds of those who are just giving mounts back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What a launcher may do before there is a job: as the fields of `Job` and its plan."""

    uid: int | None
    has_root: bool
    processes: int
    enter: tuple[str, ...]


def launch(job: Job) -> None:
    """Become the sandbox. Returns never; what goes wrong is raised, and the child that called this ends with it."""
    _place(job.descriptors)
    _begin(job.enter)
    if job.plan["bare"]:
        bare.prepare(job)
        _limit(job)
        syscalls.close_from(_BARE_DESCRIPTORS)
        os.execve(job.plan["program"], job.plan["argv"], {})  # noqa: S606 (no shell is the point)
    for pidfd in job.wait_for:
        processes.wait(pidfd, _RETURN_SECONDS)
    _carry_out(job, Identity(job.uid, has_root=job.plan["has_root"], processes=job.plan["processes"]))


def stand_by(sock: int, preparation: Preparation) -> None:
    """Prepare, say so with a byte on `sock`, and wait there for an `order` to become a sandbox by. Returns only if none comes."""
    os.dup2(sock, _ORDERS)
    for number in range(3, _ORDERS):  # so that what is opened now is not in the way of the job's descriptors
        os.dup2(0, number)
    syscalls.close_from(_ORDERS + 1)
    _begin(preparation.enter)
    identity = Identity(preparation.uid, has_root=preparation.has_root, processes=preparation.processes)
    identity.mapping("server")
    with socket.socket(fileno=_ORDERS) as orders:
        try:
            syscalls.set_name(SPARE)
            orders.send(b"1")
            message, fds = protocol.receive(orders)
        except (protocol.Closed, ConnectionError):  # the keeper has gone, or has no use for us
            return
    job = Job(plan=message["plan"], uid=preparation.uid, descriptors=tuple(fds), user_namespace=message["user_namespace"])
    _place(job.descriptors)
    _carry_out(job, identity)


def order(job: Job) -> protocol.Message:
    """Return what tells a launcher that stands by to carry out `job`; the job's descriptors go beside it."""
    return {"plan": job.plan, "user_namespace": job.user_namespace}


def _begin(enter: tuple[str, ...]) -> None:
    syscalls.set_name(LAUNCHER)
    os.setsid()
    os.umask(0o022)
    for path in enter:
        Path(path).write_text("0")


def _carry_out(job: Job, identity: Identity) -> None:
    os.write(_NOTES, staging.stage(job.plan, identity, user_namespace=job.user_namespace))
    _limit(job)
    if identity.namespace is not None:
        _become(identity.namespace)
    syscalls.close_from(_DESCRIPTORS)
    if identity.namespace is None:
        syscalls.drop_bounding_set()
        if job.uid is not None:
            _take_ids(job.uid)
    os.execve(job.plan["program"], job.plan["argv"], {})  # noqa: S606 (no shell is the point)


def _become(namespace: int) -> None:
    """Be root of the sandbox's own user namespace: without power over anything outside. bubblewrap gives up what root needs not."""
    syscalls.setns(namespace, syscalls.NEWUSER)
    _take_ids(0)


def _take_ids(number: int) -> None:
    os.setgroups([])
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)


def _place(descriptors: tuple[int, ...]) -> None:
    """Move descriptors to their numbers, by way of higher ones so that none is overwritten before it has moved."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _DESCRIPTORS) for fd in descriptors]
    for number, fd in enumerate(high):
        os.dup2(fd, number)


def _limit(job: Job) -> None:
    """Set the resource limits that hold whatever cgroups do. Processes are counted per uid: only for a uid of the sandbox's own."""
    _lower(resource.RLIMIT_CORE, 1)  # seccomp._unless_given says why not 0
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    if job.uid is not None:
        _lower(resource.RLIMIT_NPROC, job.plan["processes"] + _OUTSIDE_PROCESSES)


def _lower(what: int, bound: int) -> None:
    _, hard = resource.getrlimit(what)
    value = bound if hard == resource.RLIM_INFINITY else min(hard, bound)
    resource.setrlimit(what, (value, value))
