"""The system calls that Python 3.11 lacks, by number and by libc; each raises OSError. Numbers are those of x86_64 and aarch64 alike."""

from __future__ import annotations

import ctypes
import os

NEWNS = 0x00020000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

_OPEN_TREE = 428
_MOVE_MOUNT = 429
_CLOSE_RANGE = 436
_MOUNT_SETATTR = 442

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_MOUNT_ATTR_NOSUID = 2
_MOUNT_ATTR_NODEV = 4
_MOUNT_ATTR_IDMAP = 0x00100000

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def unshare(flags: int) -> None:
    """Move the calling process into new namespaces."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare user ns" if flags & NEWUSER else "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind `fd`, or that of the process behind it (a pidfd): the one of `kind` (one of the NEW… flags)."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, filesystem: str, flags: int, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), filesystem.encode(), ctypes.c_ulong(flags), options.encode())
    _checked(_libc.mount(*arguments), f"mount {filesystem} on {target}")


def make_private(target: str = "/") -> None:
    """Cut `target` and everything below it off from mounts made elsewhere."""
    mount("none", target, "", MS_REC | MS_PRIVATE)


def clone_tree(path: str) -> int:
    """Return a descriptor of a detached copy of the mount tree at `path`, submounts included."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    result = _libc.syscall(ctypes.c_long(_OPEN_TREE), ctypes.c_int(_AT_FDCWD), os.fsencode(path), ctypes.c_uint(flags))
    return _checked(result, f"open_tree {path}")


def idmap_tree(tree: int, user_namespace: int) -> None:
    """Show the files of a detached tree under the ids that `user_namespace` maps them to (Linux 5.12)."""
    _set_attributes(tree, _MountAttr(attr_set=_MOUNT_ATTR_IDMAP, userns_fd=user_namespace), "idmap")


def disarm_tree(tree: int) -> None:
    """Have set-uid bits and devices of a detached tree mean nothing."""
    _set_attributes(tree, _MountAttr(attr_set=_MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV), "nosuid")


def _set_attributes(tree: int, attributes: _MountAttr, what: str) -> None:
    flags = ctypes.c_uint(_AT_EMPTY_PATH | _AT_RECURSIVE)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    result = _libc.syscall(ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(tree), b"", flags, ctypes.byref(attributes), size)
    _checked(result, f"mount_setattr {what}")


def attach_tree(tree: int, target: str) -> None:
    """Mount a detached tree at `target`, and close its descriptor."""
    flags = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH)
    arguments = (ctypes.c_int(tree), b"", ctypes.c_int(_AT_FDCWD), os.fsencode(target), flags)
    _checked(_libc.syscall(ctypes.c_long(_MOVE_MOUNT), *arguments), f"move_mount {target}")
    os.close(tree)


def move_tree(tree: int, directory: int) -> None:
    """Mount a detached tree over the directory that is open as `directory`."""
    flags = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH)
    arguments = (ctypes.c_int(tree), b"", ctypes.c_int(directory), b"", flags)
    _checked(_libc.syscall(ctypes.c_long(_MOVE_MOUNT), *arguments), "move_mount")


def unmount(target: str, *, detach: bool) -> None:
    """Unmount what is mounted at `target`, no link followed; `detach` also where it is in use: who uses it may go on until done."""
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if detach else 0)
    _checked(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), f"umount {target}")


def act_as(number: int) -> None:
    """Have the calling thread's file system rights be those of the user and group `number`; 0 gives root its own again."""
    _libc.setfsgid(ctypes.c_uint(number))
    _libc.setfsuid(ctypes.c_uint(number))


def close_from(first: int) -> None:
    """Close every descriptor from `first` on."""
    _checked(_libc.syscall(ctypes.c_long(_CLOSE_RANGE), ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(0)), "close_range")


def become_subreaper() -> None:
    """Have orphaned descendants come to this process."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl subreaper")


def set_name(name: str) -> None:
    """Show the process under this name, of at most 15 bytes, until it executes something."""
    _checked(_libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0), "prctl name")


def die_with_parent(number: int) -> None:
    """Have the kernel send this signal when the parent dies."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl pdeathsig")


def drop_bounding_set() -> None:
    """Give up every capability for this process and what it executes."""
    for capability in range(_LAST_CAPABILITY + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            return  # the first number that the kernel does not know
