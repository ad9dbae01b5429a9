"""File systems of a bounded size, each in one file: what lies in them cannot grow beyond it, whoever writes.

The file is reserved whole and mounted by a loop device. No mount is ever attached where others see it: a server holds it by a
descriptor, a sandbox in its own namespace. When the last of them has gone, however that came about, the kernel lets go of the mount
and of the device; whoever comes next finds the device that is still in use, or takes another. Needs root, Linux 5.8 and mkfs.ext4.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

CONTENT, DRAFTS = "content", "drafts"
"""The directories in every disk: what sandboxes see, and what they do not see."""

_INODE_BYTES = 16384
"""As many files as mkfs would allow by itself: one for each of so many bytes."""
_INODE_SIZE = 256
_SPARE_INODES = 32
"""Those of the file system itself and of its own directories, and of some drafts."""
_GROUP = 128 * 1024 * 1024
_GROUP_OVERHEAD = 16 * 1024
_JOURNAL_MEBIBYTES = 16
_SPARE = 32 * 1024 * 1024
"""What the file system keeps back for itself (at most 16 MiB), and what is lost by rounding."""
_BLOCK = 4096
_MKFS_SECONDS = 120
_ATTEMPTS = 64

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_ATTR_NOSUID, _ATTR_NODEV = 2, 4

_LOOP_CONFIGURE, _LOOP_GET_STATUS64, _LOOP_CTL_GET_FREE = 0x4C0A, 0x4C05, 0x4C82
_AUTOCLEAR, _DIRECT_IO = 4, 16

_libc = ctypes.CDLL(None, use_errno=True)


class _LoopInfo(ctypes.Structure):
    _fields_ = (
        ("device", ctypes.c_uint64),
        ("inode", ctypes.c_uint64),
        ("rdevice", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("sizelimit", ctypes.c_uint64),
        ("number", ctypes.c_uint32),
        ("encrypt_type", ctypes.c_uint32),
        ("encrypt_key_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("names", ctypes.c_uint8 * 160),
        ("init", ctypes.c_uint64 * 2),
    )


class _LoopConfig(ctypes.Structure):
    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("block_size", ctypes.c_uint32),
        ("info", _LoopInfo),
        ("reserved", ctypes.c_uint64 * 8),
    )


def make(path: Path, size: int, inodes: int | None = None) -> None:
    """Make a disk at `path` (a new file) that holds `size` bytes and `inodes` files and directories; None: one for each 16 KiB.

    It holds no less, and more only by what rounding leaves. Blocking. The space is taken from the file system below at once.

    Raises:
        OSError: no room, no mkfs.ext4, or no such mounts here; `path` may be half made.
    """
    import subprocess  # noqa: PLC0415 (the keeper, which only mounts, need not have it)

    count = (max(size // _INODE_BYTES, 16) if inodes is None else inodes) + _SPARE_INODES
    tables = count * (_INODE_SIZE + 1)
    whole = size + tables + _JOURNAL_MEBIBYTES * 2**20 + (size // _GROUP + 1) * _GROUP_OVERHEAD + _SPARE + size // 500
    with path.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        os.posix_fallocate(file.fileno(), 0, -(-whole // _BLOCK) * _BLOCK)
    program = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise OSError(errno.ENOENT, "this machine has no mkfs.ext4 (package e2fsprogs)")
    options = ("-q", "-F", "-m", "0", "-b", str(_BLOCK), "-I", str(_INODE_SIZE), "-N", str(count), "-J", f"size={_JOURNAL_MEBIBYTES}")
    features = ("-O", "^resize_inode", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1")
    made = subprocess.run(  # noqa: S603 (a fixed program, no shell)
        [program, *options, *features, str(path)], capture_output=True, text=True, check=False, timeout=_MKFS_SECONDS, env={}
    )
    if made.returncode:
        raise OSError(errno.EIO, f"mkfs.ext4: {made.stderr.strip()[-300:]}")


def mount(path: Path) -> int:
    """Return a descriptor of a mount of the disk's file system that nobody else sees; it is gone when the descriptor is closed.

    Raises:
        OSError: it cannot be had here: not root, say, or no loop devices.
    """
    with _device(path) as device, ExitStack() as held:
        context = _checked(_libc.syscall(ctypes.c_long(_FSOPEN), b"ext4", ctypes.c_uint(_FSOPEN_CLOEXEC)), "fsopen ext4")
        held.callback(os.close, context)
        _configure(context, _SET_STRING, b"source", device.encode())
        _configure(context, _SET_FLAG, b"noinit_itable", None)
        _configure(context, _CREATE, None, None)
        attributes = ctypes.c_uint(_ATTR_NOSUID | _ATTR_NODEV)
        result = _libc.syscall(ctypes.c_long(_FSMOUNT), ctypes.c_int(context), ctypes.c_uint(_FSMOUNT_CLOEXEC), attributes)
        return _checked(result, "fsmount")


@contextmanager
def _device(path: Path) -> Generator[str]:
    """Yield the path of a loop device that shows the file, held so that it stays the same; the same one for all who use it at once."""
    lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fd = _found(os.fstat(lock))
        fd = _taken(path) if fd is None else fd
        try:
            yield str(Path(f"/proc/self/fd/{fd}").readlink())
        finally:
            os.close(fd)
    finally:
        os.close(lock)


def _found(file: os.stat_result) -> int | None:
    """Return a device that shows the file, open: what is open is not let go of."""
    for entry in sorted(Path("/sys/block").glob("loop*")):
        if not (entry / "loop").exists():
            continue
        with suppress(OSError):
            fd = os.open(f"/dev/{entry.name}", os.O_RDWR | os.O_CLOEXEC)
            info = _LoopInfo()
            try:
                fcntl.ioctl(fd, _LOOP_GET_STATUS64, info)
            except OSError:
                os.close(fd)
                continue
            if (info.device, info.inode) == (file.st_dev, file.st_ino):
                return fd
            os.close(fd)
    return None


def _taken(path: Path) -> int:
    """Return a free device, open and showing the file; it is free again when nobody uses it any more.

    The device keeps the open file: one that is locked would stay so.
    """
    with ExitStack() as held:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        held.callback(os.close, control)
        backing = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        held.callback(os.close, backing)
        for _ in range(_ATTEMPTS):
            fd = os.open(f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}", os.O_RDWR | os.O_CLOEXEC)
            config = _LoopConfig(fd=backing, block_size=_BLOCK, info=_LoopInfo(flags=_AUTOCLEAR | _DIRECT_IO))
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return fd
    raise OSError(errno.EBUSY, "no loop device is free")


def _configure(context: int, command: int, key: bytes | None, value: bytes | None) -> None:
    arguments = (ctypes.c_int(context), ctypes.c_uint(command), key, value, ctypes.c_int(0))
    _checked(_libc.syscall(ctypes.c_long(_FSCONFIG), *arguments), f"fsconfig {(key or b'create').decode()}")


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
