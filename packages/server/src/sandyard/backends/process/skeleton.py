"""The host's system as a sandbox may see and change it: the small part, copied once; what is large is a layer below (`system`).

A tree `DATA/system/<digest>` of /etc, /var and the empty directories of a root, without any secret of the host: files that not
everybody may read, keys, package sources with passwords in them, and people's accounts are left out. Its owners are those that a
sandbox sees: 0, `user` and the host's system users.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .accounts import account_files

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
"""Raised whenever this module makes another tree of the same host."""

_LOADER = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d")
_TRUST = ("ssl", "ca-certificates", "ca-certificates.conf", "pki")
_PACKAGES = ("alternatives", "apt", "dpkg", "debian_version", "debconf.conf", "deluser.conf", "adduser.conf", "login.defs")
_SHELLS = ("bash.bashrc", "profile", "shells", "inputrc", "skel", "terminfo", "pam.d", "security/limits.conf")
_NAMES = ("os-release", "localtime", "timezone", "mime.types", "protocols", "services", "fonts", "gai.conf", "locale.alias")
_LANGUAGES = ("perl", "python3", "python3.11", "python3.12", "python3.13")
_ETC = (*_LOADER, *_TRUST, *_PACKAGES, *_SHELLS, *_NAMES, *_LANGUAGES)
_PRIVATE = re.compile(r"(ssl|pki/tls)/private(/|$)|apt/auth\.conf|apt/.*\.(save|bak)$")
_CREDENTIAL = re.compile(rb"://[^/\s]*@|proxy", re.IGNORECASE)

_EMPTY = (
    *("boot", "dev", "home", "media", "mnt", "opt/sandyard/sandkit", "proc", "root", "run/lock", "srv", "sys", "tmp", "usr"),
    *("etc/init.d", "etc/rc0.d", "etc/rc1.d", "etc/rc2.d", "etc/rc3.d", "etc/rc4.d", "etc/rc5.d", "etc/rc6.d", "etc/rcS.d"),
    *("etc/opt", "etc/systemd", "etc/systemd/system", "etc/cron.d", "etc/cron.daily", "etc/default", "etc/logrotate.d", "etc/profile.d"),
    *("var/backups", "var/cache", "var/cache/apt", "var/cache/apt/archives", "var/cache/apt/archives/partial", "var/cache/debconf"),
    *("var/cache/ldconfig", "var/lib", "var/lib/apt", "var/lib/apt/lists", "var/lib/apt/lists/partial", "var/lib/apt/periodic"),
    *("var/lib/dpkg", "var/lib/misc", "var/lib/pam", "var/lib/systemd", "var/lib/ucf", "var/local", "var/log", "var/log/apt"),
    *("var/mail", "var/opt", "var/spool", "var/tmp"),
)
_STICKY = ("tmp", "var/tmp", "run/lock")
_LINKS = {"var/run": "/run", "var/lock": "/run/lock"}
_ROOTS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_HOME_ID = 1000


def make(data_dir: Path) -> Path:
    """Return the tree for this host, made if it is not there: whole or not at all. Trees of an earlier host stay for what uses them."""
    place = data_dir / "system"
    place.mkdir(mode=0o700, exist_ok=True)
    made = place / _digest()
    if made.is_dir():
        return made
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=place))
    try:
        _fill(fresh)
        fresh.chmod(0o755)
        fresh.rename(made)
    except OSError:
        if not made.is_dir():  # or another server was faster
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return made


def root_directories() -> Iterator[Path]:
    """Yield the directories beside /usr that hold programs and libraries, where they are no links into it."""
    for name in _ROOTS:
        path = Path("/", name)
        if path.is_dir() and not path.is_symlink():
            yield path


def _digest() -> str:
    """Return what changes when the host's part of the tree does."""
    facts: list[object] = [FORMAT, account_files()]
    for path in _sources():
        found = path.lstat()
        facts.append([str(path), found.st_mtime_ns, found.st_size, found.st_mode])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _sources() -> Iterator[Path]:
    """Yield every file, link and directory of /etc that is shown."""
    for name in _ETC:
        path = Path("/etc", name)
        if not os.path.lexists(path):
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from sorted(path.rglob("*"))


def _fill(fresh: Path) -> None:
    for name in _EMPTY:
        (fresh / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    for path in _sources():
        _copy(path, fresh / path.relative_to("/"))
    for name, text in account_files().items():
        (fresh / "etc" / name).write_text(text)
        (fresh / "etc" / name).chmod(0o640 if "shadow" in name else 0o644)
    links = {name: str(Path("/", name).readlink()) for name in _ROOTS if Path("/", name).is_symlink()}
    for name, target in (_LINKS | links).items():
        (fresh / name).symlink_to(target)
    for path in root_directories():
        (fresh / path.name).mkdir()
    _fill_homes(fresh)
    for name in _STICKY:
        (fresh / name).chmod(0o1777)
    (fresh / "etc/machine-id").touch()


def _fill_homes(fresh: Path) -> None:
    for name in (".bashrc", ".profile"):
        with contextlib.suppress(OSError):
            shutil.copyfile(Path("/etc/skel", name), fresh / "root" / name)
    home = fresh / "home/user"
    home.mkdir()
    try:
        os.chown(home, _HOME_ID, _HOME_ID)
    except PermissionError:
        return  # an ordinary user's: there every file is shown as `user`'s
    except OSError as error:
        if error.errno != errno.EINVAL:  # root of a user namespace that does not map this id: the same
            raise


def _copy(source: Path, target: Path) -> None:
    """Copy what everybody may read and nobody has a password in; directories stay, empty where need be."""
    if _PRIVATE.search(str(source.relative_to("/etc"))):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    found = source.lstat()
    if stat.S_ISLNK(found.st_mode):
        target.symlink_to(source.readlink())
    elif stat.S_ISDIR(found.st_mode):
        target.mkdir(mode=0o755, exist_ok=True)
    elif stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IROTH and not _secret(source):
        shutil.copyfile(source, target)
        target.chmod(found.st_mode & 0o755)


def _secret(source: Path) -> bool:
    return source.is_relative_to("/etc/apt") and bool(_CREDENTIAL.search(source.read_bytes()))
