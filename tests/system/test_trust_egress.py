"""What a sandbox's way out must not open: the host itself, by whatever address, and the host's means."""

from __future__ import annotations

import resource
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandyard.domain.specs import EgressPolicy
from sandyard.egress import EgressLimits, EgressProxy
from sandyard.egress.addresses import is_private
from support.platform import Platform
from support.sandboxes import Rig, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

CONNECT = """
import socket
def ask(host, port):
    with socket.create_connection(("127.0.0.1", 3128), 5) as proxy:
        proxy.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
        return proxy.recv(4096).decode().splitlines()[0]
"""


@asynccontextmanager
async def served(directory: Path, limits: EgressLimits | None = None) -> AsyncGenerator[tuple[Rig, EgressProxy]]:
    async with rig(directory) as made:
        proxy = EgressProxy(limits=limits)
        try:
            yield made, proxy
        finally:
            await proxy.aclose()


def own_addresses() -> list[str]:
    """Return the addresses of this machine that no list of private networks holds."""
    lines = Path("/proc/net/fib_trie").read_text().splitlines()
    hosts = {before.split()[-1] for before, line in pairwise(lines) if line.split() == ["/32", "host", "LOCAL"]}
    return sorted(host for host in hosts if not is_private(ip_address(host)))


@pytest.mark.promise("trust.own-addresses")
async def test_the_hosts_own_addresses_are_refused_though_they_are_public(tmp_path: Path) -> None:
    hosts = own_addresses()
    if not hosts:
        pytest.skip("this machine has private addresses only, which are refused anyway")
    async with served(tmp_path) as (made, proxy):
        await made.backend.start(made.spec("box"))
        proxy.attach("box", made.listeners["box"].dup(), EgressPolicy())
        for host in hosts:
            with socket.create_server((host, 0)) as service:
                port = service.getsockname()[1]
                answer = await made.result("box", f"{CONNECT}\nresult = ask({host!r}, {port})")
                assert answer.startswith("HTTP/1.1 403"), answer
                assert "an address of the host" in answer
                proxy.attach("box", made.listeners["box"].dup(), EgressPolicy(allow=(f"{host}:{port}",)))
                assert (await made.result("box", f"{CONNECT}\nresult = ask({host!r}, {port})")).startswith("HTTP/1.1 200")


HOLD = """
import socket
held = [socket.create_connection(("127.0.0.1", 3128), 5) for _ in range({count})]
held[-1].sendall(b"CONNECT x.test:1 HTTP/1.1\\r\\n\\r\\n")
result = held[-1].recv(4096).decode().splitlines()[0]
"""


@pytest.mark.promise("trust.descriptors")
async def test_sandboxes_together_hold_only_so_many_of_the_servers_descriptors(tmp_path: Path) -> None:
    async with served(tmp_path, EgressLimits(connections=40, all_connections=50)) as (made, proxy):
        for name in ("greedy", "other"):
            await made.backend.start(made.spec(name))
            proxy.attach(name, made.listeners[name].dup(), EgressPolicy(public=False))
        assert "not on the allow list" in await made.result("greedy", HOLD.format(count=40))
        assert "as many connections open as it may" in await made.result("other", HOLD.format(count=11))
        await made.result("greedy", "[each.close() for each in held]; result = 1")
        assert "not on the allow list" in await made.result("other", HOLD.format(count=1))


@pytest.mark.promise("trust.descriptors")
async def test_the_server_takes_the_descriptors_that_it_may_have(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data") as platform:
        assert resource.prlimit(platform.pid, resource.RLIMIT_NOFILE)[0] == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
