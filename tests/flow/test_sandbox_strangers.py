"""What nobody gets through the public doors: others' sandboxes, the platform from inside, files by links, forged addresses."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import e2b
import httpx
import pytest

from support.platform import Platform, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MEBIBYTE = 1 << 20
VERBS: dict[str, Any] = {
    "GET /sandboxes/{}": None,
    "DELETE /sandboxes/{}": None,
    "POST /sandboxes/{}/timeout": {"timeout": 9},
    "POST /sandboxes/{}/refreshes": {"duration": 9},
    "POST /sandboxes/{}/pause": {},
    "POST /sandboxes/{}/connect": {},
    "POST /v2/sandboxes/{}/connect": {},
    "POST /sandboxes/{}/resume": {},
    "POST /sandboxes/{}/reset": {},
    "POST /sandboxes/{}/snapshots": {},
    "POST /sandboxes/{}/fork": {},
    "POST /sandboxes/{}/clone": {},
    "POST /sandboxes/{}/commit": {},
    "PUT /sandboxes/{}/network": {},
    "GET /sandboxes/{}/metrics": None,
    "GET /sandboxes/{}/logs": None,
    "GET /v2/sandboxes/{}/logs": None,
    "POST /sandboxes/{}/hotplug-memory": {},
    "POST /sandboxes/{}/volume-mounts": {"name": "a", "path": "/a"},
    "DELETE /sandboxes/{}/volume-mounts?path=/a": None,
    "GET /events/sandboxes/{}": None,
}
SANDBOX = re.compile(r"\{sandbox_?id\}", re.IGNORECASE)


async def a_box(platform: Platform, **options: Any) -> e2b.AsyncSandbox:
    known = {"api_key": platform.env["E2B_API_KEY"], "api_url": platform.api_url, "sandbox_url": platform.sandbox_url}
    return await e2b.AsyncSandbox.create("base", timeout=300, **known, **options)


@pytest.mark.promise("sandboxes.strangers")
async def test_another_owners_key_opens_nothing(process_platform: Platform) -> None:
    box = await a_box(process_platform)
    code, text, _ = await run("key", "create", "--data-dir", str(process_platform.data_dir), "--owner", "stranger")
    assert code == 0
    stranger = {"X-API-Key": text.strip()}
    described = (await process_platform.api.get("/openapi.json")).json()["paths"]
    verbs = {f"{verb.upper()} {SANDBOX.sub('{}', path)}" for path, verbs in described.items() if SANDBOX.search(path) for verb in verbs}
    assert verbs <= {verb.partition("?")[0] for verb in VERBS}
    for verb, body in VERBS.items():
        method, path = verb.split()
        reply = await process_platform.api.request(method, path.format(box.sandbox_id), json=body, headers=stranger)
        assert (reply.status_code, reply.json()["error_code"]) == (404, "sandbox_not_found"), verb
    for verb in ("/v2/sandboxes", "/sandboxes", "/sandboxes/events", f"/sandboxes/metrics?sandbox_ids={box.sandbox_id}", "/snapshots"):
        reply = await process_platform.api.get(verb, headers=stranger)
        assert (reply.status_code, box.sandbox_id in reply.text) == (200, False), verb
    route = {"E2b-Sandbox-Id": box.sandbox_id, "E2b-Sandbox-Port": "49983"}
    async with httpx.AsyncClient(base_url=process_platform.sandbox_url, trust_env=False) as client:
        for extra in ({}, stranger, {"X-Access-Token": "0" * 64}, {"Authorization": f"Bearer {text.strip()}"}):
            assert (await client.get("/files?path=/etc/hostname", headers=route | extra)).status_code in (401, 403)
    assert await box.is_running()
    await box.kill()


def _own_addresses() -> list[str]:
    """Return the host's addresses: the one that it goes out by (nothing is sent), and those of its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with contextlib.suppress(OSError):
            sock.connect(("192.0.2.1", 9))
        found = [sock.getsockname()[0]]
    with contextlib.suppress(OSError):
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    return found


INSIDE = """
import json, os, socket
def reached(host, port):
    try:
        with socket.create_connection((host, port), 3):
            return True
    except OSError:
        return False
def proxied(request):
    with socket.create_connection(("127.0.0.1", 3128), 5) as sock:
        sock.settimeout(20)
        sock.sendall(request.encode())
        return int((sock.recv(4096).split() or [b"", b"0"])[1])
places = [(host, port) for host in {hosts} for port in {ports}]
tried = [place for place in places if reached(*place)]
lines = ["GET http://{{0}}/health HTTP/1.1\\r\\nHost: {{0}}\\r\\nConnection: close\\r\\n\\r\\n", "CONNECT {{0}} HTTP/1.1\\r\\nHost: {{0}}\\r\\n\\r\\n"]
urls = [f"[{{host}}]:{{port}}" if ":" in host else f"{{host}}:{{port}}" for host, port in places]
seen = [(url, line.split()[0], code) for url in urls for line in lines if (code := proxied(line.format(url))) < 400]
files = [path for path in {paths} if os.path.exists(path)]
print(json.dumps([tried, seen, files, len([name for name in os.listdir("/proc") if name.isdigit()])]))
"""


@pytest.mark.promise("sandboxes.walled")
async def test_from_inside_there_is_no_platform_no_neighbour_and_no_host(process_platform: Platform) -> None:
    box, neighbour = await a_box(process_platform), await a_box(process_platform)
    await neighbour.files.write("/home/user/theirs.txt", "x")
    ports = [urlsplit(process_platform.api_url).port, urlsplit(process_platform.sandbox_url).port]
    hosts = ["127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::ffff:127.0.0.1", "localhost", "10.0.0.1", *_own_addresses()]
    data = process_platform.data_dir
    paths = [str(data), str(data / "secrets"), f"{data}/keeper.sock", "/home/user/theirs.txt", f"/proc/{process_platform.pid}/cmdline"]
    await box.files.write("/tmp/try.py", INSIDE.format(hosts=hosts, ports=ports, paths=paths))
    for user in ("user", "root"):
        out = (await box.commands.run("python3 /tmp/try.py", user=user)).stdout.strip()
        connected, proxied, files, processes = json.loads(out)
        assert (connected, proxied, files) == ([], [], [])
        assert processes < 10
    assert neighbour.sandbox_id not in (await box.commands.run("cat /proc/*/cmdline /proc/net/unix /etc/hosts | tr '\\0' ' '")).stdout
    for each in (box, neighbour):
        await each.kill()


@pytest.mark.promise("sandboxes.links")
async def test_links_of_a_user_open_nothing_that_is_roots(process_platform: Platform) -> None:
    box = await a_box(process_platform)
    if (await box.commands.run("id -u", user="root")).stdout != "0\n":
        pytest.skip("no root is mapped in sandboxes here")
    await box.commands.run(
        "mkdir /etc/kept; echo hidden > /etc/kept/secret; chmod 600 /etc/kept/secret; mkdir -m 700 /etc/kept/d", user="root"
    )
    await box.commands.run("ln -s /etc/kept/secret read; ln -s /etc/kept/d dir; ln -s /etc/kept/new write; ln -s /etc/shadow shadow")
    for path in ("read", "dir/x", "/etc/kept/secret", "shadow"):
        with pytest.raises(e2b.SandboxException):
            await box.files.read(path)
    for path in ("read", "dir/x", "write", "/etc/kept/new"):
        with pytest.raises(e2b.SandboxException):
            await box.files.write(path, "taken")
    for refused in (
        box.files.list("dir"),
        box.files.rename("read", "/etc/kept/d/x"),
        box.files.make_dir("dir/y"),
        box.files.remove("/etc/kept/d"),
    ):
        with pytest.raises(e2b.SandboxException):
            await refused
    assert (await box.commands.run("cat /etc/kept/secret; ls -A /etc/kept/d; ls /etc/kept", user="root")).stdout.split() == [
        "hidden",
        "d",
        "secret",
    ]
    await box.kill()


@pytest.mark.promise("sandboxes.signatures")
async def test_forged_and_old_addresses_are_refused(process_platform: Platform) -> None:
    box = await a_box(process_platform)
    await box.files.write("a.txt", "mine")
    await box.files.write("b.txt", "other")
    good = await sign(box, "a.txt", "read", int(time.time()) + 60)
    async with httpx.AsyncClient(base_url=process_platform.sandbox_url, trust_env=False) as client:

        async def status(query: dict[str, str], method: str = "GET") -> int:
            return (await client.request(method, f"/files?{urlencode(query)}", content=b"x" if method == "POST" else None)).status_code

        assert await status(good) == 200
        forged = [
            good | {"path": "b.txt"},
            good | {"username": "root"},
            good | {"signature_expiration": str(int(time.time()) + 9999)},
            good | {"signature": good["signature"][:-2] + "AA"},
            good | {"signature": "v1_"},
            {name: value for name, value in good.items() if name != "signature_expiration"},
            await sign(box, "a.txt", "read", int(time.time()) - 1),
            await sign(box, "a.txt", "write", int(time.time()) + 60),
            await sign(box, "a.txt", "read", int(time.time()) + 60, token="0" * 64),
        ]
        assert not {await status(query) for query in forged} & {200, 204}
        assert await status(good, "POST") not in (200, 204)
    assert await box.files.read("a.txt") == "mine"
    await box.kill()


async def sign(box: e2b.AsyncSandbox, path: str, what: str, expires: int, token: str | None = None) -> dict[str, str]:
    """As sandbox-protocol §2.2 says."""
    if token is None:
        url = box.download_url("token-probe")
        assert "signature" in parse_qs(urlsplit(url).query)
        token = box._envd_access_token  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue] (what the client signs with)
    digest = hashlib.sha256(f"{path}:{what}::{token}:{expires}".encode()).digest()
    signature = "v1_" + base64.b64encode(digest).decode().rstrip("=")
    return {"path": path, "signature": signature, "signature_expiration": str(expires)}


@pytest.mark.promise("sandboxes.large-upload")
async def test_two_gigabytes_go_up_in_constant_memory(tmp_path: Path) -> None:
    size = 2048
    async with Platform(tmp_path / "data", "--disk", "3Gi", "--memory", "4Gi", backend="process") as platform:
        box = await a_box(platform)
        before = platform.peak_memory()

        async def body() -> AsyncIterator[bytes]:
            for _ in range(size):
                yield bytes(MEBIBYTE)

        route = {"E2b-Sandbox-Id": box.sandbox_id, "E2b-Sandbox-Port": "49983", "Content-Type": "application/octet-stream"}
        token = {"X-Access-Token": (await platform.api.get(f"/sandboxes/{box.sandbox_id}")).json()["envdAccessToken"]}
        async with httpx.AsyncClient(base_url=platform.sandbox_url, trust_env=False, timeout=300) as client:
            reply = await client.post("/files?path=/tmp/large", content=body(), headers=route | token)
        assert reply.status_code == 200, reply.text
        assert (await box.files.get_info("/tmp/large")).size == size * MEBIBYTE
        assert platform.peak_memory() - before < 48 * MEBIBYTE
        used = (await platform.api.get(f"/sandboxes/{box.sandbox_id}/metrics")).json()[-1]
        assert used["memUsed"] - used["memCache"] < 128 * MEBIBYTE, "the guest grew with what it wrote"
        await box.kill()
