"""Whose processes and files: users of the sandbox's /etc/passwd, and acting as one of them.

Where the guest is root inside, everything that a client asks for is done with the named user's identity, so that no user can make the
guest follow a link for it to where it may not go itself. Where the guest is an ordinary user, there is only that one.
"""

from __future__ import annotations

import grp
import os
import pwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT = "user"
USER_VARIABLE, WORKDIR_VARIABLE = "SANDYARD_USER", "SANDYARD_WORKDIR"  # of a template: who and where, unless a client says
_DEFAULT_HOME = "/home/user"
_SHELL = "/bin/bash"


class NoSuchUser(Exception):  # noqa: N818 (an answer)
    """There is no user of that name."""


class NotMapped(Exception):  # noqa: N818 (an answer)
    """There is one, but this sandbox cannot act as it."""


class User:
    """A name, its numbers, its home directory and shell; `groups` are its supplementary groups."""

    __slots__ = ("gid", "groups", "home", "name", "shell", "uid")

    def __init__(self, name: str, *, uid: int, gid: int, home: str, shell: str, groups: Sequence[int] = ()) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home
        self.shell = shell
        self.groups = list(groups)

    def path(self, text: str) -> str:
        """Return the absolute path that `text` means: relative to home, with `~`, normalised without following links.

        Raises:
            ValueError: it holds a NUL, or names another user's home.
        """
        if "\0" in text:
            raise ValueError("A path cannot hold a NUL character.")
        if text == "~" or text.startswith("~/"):
            text = self.home + text[1:]
        elif text.startswith("~"):
            raise ValueError("Another user's home cannot be named by ~; give its absolute path.")
        return os.path.normpath(os.path.join(self.home, text)).replace("//", "/")  # noqa: PTH118 (pathlib takes 6 ms to import)


class Users:
    """Who can be acted as here. `environment` is the sandbox's."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._uid = os.getuid()
        self._mapped = _ranges("/proc/self/uid_map")
        self._home = environment.get("HOME", _DEFAULT_HOME)
        self._default = environment.get(USER_VARIABLE) or DEFAULT

    def find(self, name: str | None) -> User:
        """Return the user of that name, by default the template's, or `user`.

        Raises:
            NoSuchUser, NotMapped: see there.
        """
        wanted = name or self._default
        entry = _entry(wanted)
        if entry is not None and self._can_be(entry.pw_uid):
            shell = entry.pw_shell or "/bin/sh"
            return User(entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, home=entry.pw_dir, shell=shell, groups=_groups(entry))
        if wanted == DEFAULT:
            return self._ourselves()
        if entry is None:
            raise NoSuchUser(f"There is no user {wanted!r} in this sandbox.")
        raise NotMapped(f"This sandbox has no mapped root, so it has only the user {DEFAULT!r}; it cannot act as {wanted!r}.")

    def _can_be(self, uid: int) -> bool:
        if self._uid != 0:
            return uid == self._uid
        return any(first <= uid < first + count for first, count in self._mapped)

    def _ourselves(self) -> User:
        """Without isolation the machine may know no `user`: then it is whoever runs the guest."""
        return User(DEFAULT, uid=self._uid, gid=os.getgid(), home=self._home, shell=_SHELL, groups=os.getgroups())


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: a NUL in it
        return None


def _groups(entry: pwd.struct_passwd) -> list[int]:
    try:
        return os.getgrouplist(entry.pw_name, entry.pw_gid)
    except OSError:
        return [entry.pw_gid]


def _ranges(file: str) -> list[tuple[int, int]]:
    try:
        with open(file, encoding="ascii") as lines:  # noqa: PTH123 (pathlib takes 6 ms to import)
            return [(int(first), int(count)) for first, _, count in (line.split() for line in lines)]
    except OSError:
        return [(0, 1 << 32)]


def is_other(user: User) -> bool:
    """Whether we are somebody else."""
    return os.getuid() != user.uid or os.getgid() != user.gid


def become(user: User) -> None:
    """Be that user for good.

    Raises:
        OSError: its ids are not mapped here.
    """
    _set_groups(user.groups, user.gid)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


class Acting:
    """`with Acting(user)`: file system calls are made as that user. No `await` inside: the identity is the process's.

    Only the effective ids change: with the real one, the user's processes could signal us meanwhile.
    """

    __slots__ = ("_groups", "_switch", "_user")

    def __init__(self, user: User) -> None:
        self._user = user
        self._switch = is_other(user)

    def __enter__(self) -> None:
        if not self._switch:
            return
        user = self._user
        self._groups = os.getgroups()
        try:
            _set_groups(user.groups, user.gid)
            os.setresgid(-1, user.gid, 0)
            os.setresuid(-1, user.uid, 0)
        except OSError:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if not self._switch:
            return
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        _set_groups(self._groups, 0)


def _set_groups(groups: list[int], own: int) -> None:
    """Set the supplementary groups, or those of them that are mapped here."""
    for attempt in (groups, [own], []):
        try:
            os.setgroups(attempt)
        except OSError:
            continue
        return


_names: dict[tuple[str, int], str] = {}


def owner_name(uid: int) -> str:
    """Return the name of a uid, or its number where it has none."""
    return _name("u", uid)


def group_name(gid: int) -> str:
    """Return the name of a gid, or its number where it has none."""
    return _name("g", gid)


def _name(kind: str, number: int) -> str:
    """Names are remembered while a listing lasts: see `forget_names`."""
    found = _names.get((kind, number))
    if found is None:
        try:
            found = pwd.getpwuid(number).pw_name if kind == "u" else grp.getgrgid(number).gr_name
        except (KeyError, OverflowError):
            found = str(number)
        _names[kind, number] = found
    return found


def forget_names() -> None:
    """Ask /etc/passwd again: somebody may have added a user."""
    _names.clear()
