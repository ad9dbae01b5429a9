"""The filter is loaded into a real process, and each thing is really tried under it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from sandyard.backends.process import seccomp

PREPARE = """
import ctypes, errno, json, os, socket, sys, threading
from pathlib import Path
sys.path[:0] = json.loads(os.environ["TEST_PATH"])
from sandyard.backends.process import seccomp
libc = ctypes.CDLL(None, use_errno=True)

def call(*arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*[ctypes.c_long(a) for a in arguments])
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]

seccomp.apply(seccomp.program())
"""


def under_filter(body: str) -> subprocess.CompletedProcess[str]:
    """Run `body` in a process of its own, with the filter loaded before it."""
    env = {**os.environ, "TEST_PATH": json.dumps(sys.path)}
    code = PREPARE + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=env)


def answer(body: str) -> Any:
    """Return what `body` left in `answer`."""
    done = under_filter(textwrap.dedent(body) + "\nprint(json.dumps(answer))")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.promise("seccomp.refuses")
def test_every_refused_call_is_answered_with_eperm() -> None:
    tried = answer(
        """
        column = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
        answer = {name: call(numbers[column], 0, 0, 0, 0, 0, 0) for name, numbers in seccomp._REFUSED.items() if numbers[column]}
        """
    )
    assert len(tried) > 50
    assert {name: got for name, got in tried.items() if got != "EPERM"} == {}


@pytest.mark.promise("seccomp.namespaces")
def test_no_namespace_is_made_by_clone_unshare_or_clone3() -> None:
    tried = answer(
        """
        kinds = {"ns": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}
        n = seccomp._MACHINES[os.uname().machine]
        answer = {kind: [call(n.clone, flag | 17, 0, 0, 0, 0), call(n.unshare, flag)] for kind, flag in kinds.items()}
        answer["time"] = [call(n.unshare, 0x80)]
        answer["clone3"] = [call(n.clone3, 0, 0)]
        """
    )
    assert tried.pop("clone3") == ["ENOSYS"]
    assert {kind: got for kind, got in tried.items() if set(got) != {"EPERM"}} == {}


@pytest.mark.promise("seccomp.sockets")
def test_only_unix_ip_and_route_sockets() -> None:
    got = answer(
        """
        def opened(family, kind=socket.SOCK_STREAM, protocol=0):
            try:
                socket.socket(family, kind, protocol).close()
            except OSError as error:
                return errno.errorcode[error.errno]
            return "ok"
        answer = {
            "inet": opened(2), "inet6": opened(10), "unix": opened(1), "datagram": opened(2, socket.SOCK_DGRAM),
            "route": opened(16, socket.SOCK_RAW, 0), "netfilter": opened(16, socket.SOCK_RAW, 12), "crypto": opened(16, socket.SOCK_RAW, 21),
            "vsock": opened(40), "packet": opened(17, socket.SOCK_RAW), "alg": opened(38, socket.SOCK_SEQPACKET), "bluetooth": opened(31),
        }
        """
    )
    refused = "EAFNOSUPPORT"
    assert got == {
        **dict.fromkeys(("unix", "inet", "inet6", "datagram", "route"), "ok"),
        **dict.fromkeys(("vsock", "packet", "alg", "bluetooth"), refused),
        **dict.fromkeys(("netfilter", "crypto"), "EPROTONOSUPPORT"),
    }


@pytest.mark.promise("seccomp.refuses")
def test_no_typing_into_terminals_and_no_odd_personality() -> None:
    got = answer(
        """
        n = seccomp._MACHINES[os.uname().machine]
        answer = [call(n.ioctl, 0, 0x5412, 0), call(n.ioctl, 0, 0x541C, 0), call(n.ioctl, -1, 0x5401, 0),
                  call(n.personality, 0x0040000), call(n.personality, 0xFFFFFFFF), call(n.personality, 0)]
        """
    )
    assert got == ["EPERM", "EPERM", "EBADF", "EPERM", 0, 0]


@pytest.mark.promise("seccomp.refuses")
def test_high_bits_of_an_argument_hide_nothing() -> None:
    """The kernel looks at 32 bits of these arguments, so the filter must not look at more."""
    got = answer(
        """
        n, high = seccomp._MACHINES[os.uname().machine], 1 << 40
        answer = [call(n.socket, 40 | high, 1, 0), call(n.clone, 0x10000000 | 17 | high, 0, 0, 0, 0), call(n.ioctl, 0, 0x5412 | high, 0)]
        """
    )
    assert got == ["EAFNOSUPPORT", "EPERM", "EPERM"]


@pytest.mark.promise("seccomp.foreign")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 and i386 calls exist on x86_64 only")
def test_x32_is_refused_and_the_i386_gate_kills() -> None:
    assert answer("answer = call(0x40000000 | 165, 0, 0, 0, 0, 0)") == "EPERM"
    done = under_filter(
        """
        import mmap
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")  # mov eax, 20 (getpid); int 0x80; ret
        print("before", flush=True)
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        print("after")
        """
    )
    assert (done.returncode, done.stdout) == (-31, "before\n")  # SIGSYS


@pytest.mark.promise("seccomp.ordinary-code")
def test_threads_loops_subprocesses_and_memfd_work() -> None:
    got = answer(
        """
        import asyncio, concurrent.futures, multiprocessing, subprocess, tempfile, uvloop

        async def loop_work():
            server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
            async with server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                await reader.read()
                writer.close()
            process = await asyncio.create_subprocess_exec("true")
            return await asyncio.to_thread(lambda: 7) + await process.wait()

        answer = [asyncio.run(loop_work()), uvloop.run(loop_work())]
        answer.append(subprocess.run(["sh", "-c", "echo $((40 + 2)) | cat"], capture_output=True, text=True).stdout)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answer.append(sum(pool.map(len, ["ab"] * 20)))
        with os.fdopen(os.memfd_create("x"), "wb") as file:
            answer.append(file.write(b"four"))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            answer.append(pool.map(abs, [-1, -2]))
        """
    )
    assert got == [7, 7, "42\n", 40, 4, [1, 2]]


@pytest.mark.promise("seccomp.refuses")
def test_a_child_of_a_child_is_under_the_filter() -> None:
    got = answer(
        """
        import subprocess
        answer = subprocess.run(["sh", "-c", "grep Seccomp: /proc/self/status; grep NoNewPrivs: /proc/self/status"], capture_output=True, text=True).stdout.split()
        """
    )
    assert got == ["Seccomp:", "2", "NoNewPrivs:", "1"]


def test_both_machines_have_a_program_that_the_kernel_would_take() -> None:
    for machine in ("x86_64", "aarch64"):
        code = seccomp.program(machine)
        assert len(code) % 8 == 0
        assert len(code) // 8 <= 4096  # BPF_MAXINSNS


def test_an_unknown_machine_is_named() -> None:
    with pytest.raises(seccomp.UnsupportedMachineError, match="riscv64"):
        seccomp.program("riscv64")
