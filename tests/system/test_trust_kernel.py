"""What namespaces do not part: the machine's own numbers, modules and helpers, tried from inside a sandbox."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.sandboxes import Rig, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PROTONOSUPPORT = 93
SOCKET = "import socket; socket.socket(socket.AF_INET, {kind}, {protocol}).close(); result = 1"


@pytest.fixture
async def box(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        await made.backend.start(made.spec("box"))
        yield made


@pytest.mark.promise("trust.kernel")
async def test_no_crash_starts_the_hosts_core_dump_helper(box: Rig) -> None:
    """Under a limit of 1 the kernel runs no helper (core(5)), and nobody inside can make it 0."""
    code = """
    import resource
    for _ in range(2):
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        except (OSError, ValueError):
            pass
    result = resource.getrlimit(resource.RLIMIT_CORE)
    """
    assert await box.result("box", code) == [1, 1]
    other = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5, 7)); result = resource.getrlimit(resource.RLIMIT_FSIZE)"
    assert await box.result("box", other) == [5, 7]


@pytest.mark.promise("trust.kernel")
@pytest.mark.parametrize(("kind", "protocol"), [(1, 132), (1, 262), (2, 136), (2, 115), (5, 132)])
async def test_no_unusual_protocol_can_be_had(box: Rig, kind: int, protocol: int) -> None:
    answer = await box.run("box", SOCKET.format(kind=kind, protocol=protocol))
    assert answer.errno == PROTONOSUPPORT, answer


@pytest.mark.promise("trust.kernel")
@pytest.mark.parametrize(("kind", "protocol"), [(1, 0), (1, 6), (2, 0), (2, 17)])
async def test_the_usual_protocols_can(box: Rig, kind: int, protocol: int) -> None:
    assert await box.result("box", SOCKET.format(kind=kind, protocol=protocol)) == 1


@pytest.mark.promise("trust.kernel")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number is x86_64's")
async def test_the_machines_one_pool_of_asynchronous_requests_is_out_of_reach(box: Rig) -> None:
    code = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    result = [libc.syscall(206, 60000, ctypes.byref(ctypes.c_ulong(0))), ctypes.get_errno()]
    """
    assert await box.result("box", code) == [-1, 1]


@pytest.mark.promise("trust.kernel")
async def test_keys_of_the_hosts_services_are_not_in_sight(box: Rig) -> None:
    code = "import os; result = [os.listdir(path) for path in ('/etc/ssl/private', '/etc/pki/tls/private') if os.path.exists(path)]"
    assert all(names == [] for names in await box.result("box", code))
