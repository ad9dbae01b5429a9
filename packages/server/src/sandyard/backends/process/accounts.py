"""Who is known by name in a sandbox: root, `user`, and the host's system users, of whom files and package scripts speak."""

from __future__ import annotations

from pathlib import Path

USER_ID = 1000
HOME = "/home/user"
_NOBODY = 65534
_FIRST_PERSON = 1000
_AGED = "19000:0:99999:7:::"  # shadow's days: a password as old as any, never to be changed


def account_files() -> dict[str, str]:
    """Return the files of /etc that name users and groups, by name. Nobody has a password, and people's accounts are left out."""
    users = {name: (number, fields) for name, number, fields in _entries("passwd") if number < _FIRST_PERSON or number == _NOBODY}
    groups = {name: number for name, number, _ in _entries("group") if number < _FIRST_PERSON or number == _NOBODY}
    users.pop("root", None)
    users.setdefault("nobody", (_NOBODY, ["", "", "", str(_NOBODY)]))
    groups = {"root": 0, **groups, "user": USER_ID}
    groups.setdefault("nogroup", _NOBODY)
    passwd = ["root:x:0:0:root:/root:/bin/bash"]
    passwd += [f"{name}:x:{number}:{fields[3]}::/nonexistent:/usr/sbin/nologin" for name, (number, fields) in users.items()]
    passwd += [f"user:x:{USER_ID}:{USER_ID}::{HOME}:/bin/bash"]
    return {
        "passwd": _lines(passwd),
        "group": _lines([f"{name}:x:{number}:" for name, number in groups.items()]),
        "shadow": _lines([f"{name}:*:{_AGED}" for name in ("root", *users, "user")]),
        "gshadow": _lines([f"{name}:*::" for name in groups]),
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n",
    }


def hosts(hostname: str) -> str:
    return f"127.0.0.1 localhost {hostname}\n::1 localhost\n"


def with_user(passwd: str, group: str) -> tuple[str, str]:
    """Return an image's own files, with the names that clients use added where nobody has them.

    An image may have given the id of `user` to a name of its own: then there are two names for it.
    """
    for name, number, home in (("root", 0, "/root"), ("user", USER_ID, HOME)):
        if not _knows(passwd, name):
            passwd = f"{_ended(passwd)}{name}:x:{number}:{number}::{home}:/bin/sh\n"
        if not _knows(group, name):
            group = f"{_ended(group)}{name}:x:{number}:\n"
    return passwd, group


def _knows(text: str, name: str) -> bool:
    return any(line.partition(":")[0] == name for line in text.splitlines())


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _entries(name: str) -> list[tuple[str, int, list[str]]]:
    try:
        lines = Path("/etc", name).read_text().splitlines()
    except OSError:
        return []
    rows = [line.split(":") for line in lines]
    return [(row[0], int(row[2]), row) for row in rows if len(row) > 3 and row[2].isdigit()]


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
