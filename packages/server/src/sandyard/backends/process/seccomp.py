"""The system-call filter of every sandbox: classic BPF, made by hand (reference/process-backend §7).

It closes what namespaces leave open and what a service has no use for; an agent's threads, event loops, subprocesses and
`memfd_create` work under it. bubblewrap loads it (`--seccomp FD`), and `apply` loads it into the calling thread.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import NamedTuple

# linux/bpf_common.h, linux/seccomp.h: the few instructions that a filter needs.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH = 0, 4  # offsets into struct seccomp_data

_X32 = 0x40000000
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEWNS|CGROUP|UTS|IPC|USER|PID|NET, and NEWTIME (in clone that bit belongs to the exit signal)
_EXIT_SIGNAL = 0xFF
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
_PROTOCOLS = (0, 1, 6, 17, 58)  # what the type implies, ICMP, TCP, UDP, ICMPv6; others load modules into the host's kernel
_NETLINK, _NETLINK_ROUTE = 16, 0  # getifaddrs() asks route; the other protocols are kernel surface
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_CORE = 4  # RLIMIT_CORE
_PERSONALITY = (0, 0xFFFFFFFF)  # setting the default and asking: no emulation, no fixed addresses

# Refused whatever the arguments: x86_64 and aarch64 numbers (None: the architecture has no such call).
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # mounts, roots and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # not parted by namespaces, or a wide kernel surface
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_setup": (206, 0),  # fs.aio-max-nr is one number for the whole machine
    "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "query_module": (178, None),
    "get_kernel_syms": (177, None),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
}


class _Machine(NamedTuple):
    """One architecture: its AUDIT_ARCH, its column in `_REFUSED` and the calls whose arguments matter."""

    arch: int
    column: int
    clone: int
    clone3: int
    unshare: int
    socket: int
    ioctl: int
    personality: int
    setrlimit: int
    prlimit64: int


_MACHINES = {
    "x86_64": _Machine(
        0xC000003E, 0, clone=56, clone3=435, unshare=272, socket=41, ioctl=16, personality=135, setrlimit=160, prlimit64=302
    ),
    "aarch64": _Machine(
        0xC00000B7, 1, clone=220, clone3=435, unshare=97, socket=198, ioctl=29, personality=92, setrlimit=164, prlimit64=261
    ),
}


class UnsupportedMachineError(Exception):
    """There is no system-call table for this processor, so no sandbox is started on it."""


def program(machine: str | None = None) -> bytes:
    """Return the filter as an array of `struct sock_filter`, for `machine` (as `os.uname` names it; the running one by default).

    Raises:
        UnsupportedMachineError: no table for this processor; only x86_64 and aarch64 have one.
    """
    name = machine or os.uname().machine
    found = _MACHINES.get(name)
    if found is None:
        raise UnsupportedMachineError(f"The sandbox's system-call filter knows x86_64 and aarch64, not {name}.")
    code = _prologue(found) + _by_argument(found)
    for numbers in _REFUSED.values():
        number = numbers[found.column]
        if number is not None:
            code += _when(number, _refuse(errno.EPERM))
    return code + _answer(_ALLOW)


def apply(code: bytes) -> None:
    """Load `code` into the calling thread, for good; its children inherit it. Sets no_new_privs first.

    Raises:
        OSError: the kernel refused the filter.
    """
    import ctypes  # noqa: PLC0415 (only the launcher's own child pays for it; bubblewrap loads the filter itself)

    libc = ctypes.CDLL(None, use_errno=True)
    body = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(body))  # struct sock_fprog
    for arguments in ((38, 1, 0, 0, 0), (22, 2, filter_, 0, 0)):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        if libc.prctl(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One `struct sock_filter`; `yes` and `no` are how many instructions a test skips."""
    return struct.pack("HBBI", code, yes, no, value)


def _answer(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _refuse(number: int) -> bytes:
    return _answer(_ERRNO | number)


def _argument(index: int) -> bytes:
    """Load the low word of an argument: each one tested here is 32 bits wide in the kernel (both machines are little-endian)."""
    return _instruction(_LOAD, 16 + 8 * index)


def _when(number: int, body: bytes) -> bytes:
    """Run `body`, which must return, if the loaded word is `number`; else go on after it."""
    return _instruction(_EQUAL, number, 0, len(body) // 8) + body


def _prologue(machine: _Machine) -> bytes:
    """Kill a foreign instruction set (its numbers mean other calls), refuse x32's second numbers, leave the number loaded."""
    code = _instruction(_LOAD, _ARCH) + _instruction(_EQUAL, machine.arch, 1) + _answer(_KILL) + _instruction(_LOAD, _NUMBER)
    return code + _instruction(_AT_LEAST, _X32, 0, 1) + _refuse(errno.EPERM)


def _by_argument(machine: _Machine) -> bytes:
    """The calls that are refused for some arguments only. clone3 hides its flags in memory: libc falls back to clone."""
    return (
        _when(machine.clone3, _refuse(errno.ENOSYS))
        + _when(machine.clone, _unless_any_bit(_NEW_NAMESPACES & ~_EXIT_SIGNAL))
        + _when(machine.unshare, _unless_any_bit(_NEW_NAMESPACES))
        + _when(machine.socket, _only_families())
        + _when(machine.ioctl, _argument(1) + b"".join(_when(n, _refuse(errno.EPERM)) for n in _TERMINAL_INJECTION) + _answer(_ALLOW))
        + _when(machine.personality, _argument(0) + b"".join(_when(n, _answer(_ALLOW)) for n in _PERSONALITY) + _refuse(errno.EPERM))
        + _when(machine.setrlimit, _argument(0) + _when(_CORE, _refuse(0)) + _answer(_ALLOW))
        + _when(machine.prlimit64, _argument(1) + _when(_CORE, _unless_given(2)) + _answer(_ALLOW))
    )


def _unless_given(index: int) -> bytes:
    """Allow the call if this pointer is null; else pretend that it was done.

    The launcher's limit of 1 byte is the only one under which the kernel starts no core dump helper: with 0, that would be run as
    the host's root and read what crashed here.
    """
    words = (16 + 8 * index, 16 + 8 * index + 4)
    return b"".join(_instruction(_LOAD, word) + _instruction(_AT_LEAST, 1, 0, 1) + _refuse(0) for word in words) + _answer(_ALLOW)


def _unless_any_bit(mask: int) -> bytes:
    return _argument(0) + _instruction(_ANY_BIT, mask, 0, 1) + _refuse(errno.EPERM) + _answer(_ALLOW)


def _only_families() -> bytes:
    """Unix sockets, IP sockets of the usual protocols, and netlink's route protocol. A network namespace does not hold vsock, for one."""
    route = _argument(2) + _when(_NETLINK_ROUTE, _answer(_ALLOW)) + _refuse(errno.EPROTONOSUPPORT)
    protocols = _argument(2) + b"".join(_when(number, _answer(_ALLOW)) for number in _PROTOCOLS) + _refuse(errno.EPROTONOSUPPORT)
    families = b"".join(_when(family, protocols) for family in _FAMILIES)
    return _argument(0) + families + _when(_NETLINK, route) + _refuse(errno.EAFNOSUPPORT)
