"""`sandyard serve --domain … --tls self`: both planes by name and TLS, trusted through one file."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography import x509
from websockets.asyncio.client import connect

from support.connect_proxy import resolving
from support.packages import write_agent
from support.platform import Platform, PlatformEnded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

DOMAIN = "sandbox.test"

TALKS = """\
import asyncio

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute


async def invoke(request):
    return JSONResponse(await request.json())


async def ping(request):
    return JSONResponse({"status": "Healthy"})


async def endless(request):
    async def chunks():
        while True:
            yield b"chunk\\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(chunks())


async def talk(socket):
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


app = Starlette(
    routes=[
        Route("/invocations", invoke, methods=["POST"]),
        Route("/ping", ping),
        Route("/endless", endless),
        WebSocketRoute("/ws", talk),
    ]
)

if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=8080)
"""

STRANGER = """\
import sys

from e2b import Sandbox

sandbox = Sandbox.create("echo", timeout=60, proxy=sys.argv[1])
print(sandbox.get_host(8080))
print(sandbox.is_running())
sandbox.kill()
"""


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Platform]:
    async with Platform(tmp_path / "data", "--domain", DOMAIN, "--tls", "self", "--tls-port", "0", backend="process") as running:
        yield running


def read(path: Path) -> bytes:
    return path.read_bytes()


def announced(platform: Platform) -> dict[str, str]:
    return json.loads((platform.data_dir / "server.json").read_text())


@pytest.mark.promise("serve.tls")
async def test_both_planes_answer_by_name(platform: Platform) -> None:
    info = announced(platform)
    assert info["domain"].startswith(f"{DOMAIN}:")
    trust = ssl.create_default_context(cafile=info["authority"])
    async with resolving(DOMAIN) as proxy, httpx.AsyncClient(verify=trust, proxy=proxy) as client:
        assert (await client.get(f"https://api.{info['domain']}/health")).status_code == 204
        listed = await client.get(f"https://api.{info['domain']}/v2/sandboxes", headers={"X-API-Key": platform.key})
        assert (listed.status_code, listed.json()) == (200, [])
        gone = await client.get(f"https://3000-i0123456789.{info['domain']}/")
        assert (gone.status_code, gone.json()["message"]) == (502, "The sandbox was not found")


@pytest.mark.promise("serve.tls")
async def test_a_port_of_a_sandbox_has_a_name_that_works(platform: Platform, tmp_path: Path) -> None:
    await platform.deploy(write_agent(tmp_path / "agent", source=TALKS))
    made = await platform.api.post("/sandboxes", json={"templateID": "echo"})
    sandbox, info = made.json(), announced(platform)
    assert sandbox["domain"] == info["domain"]
    trust = ssl.create_default_context(cafile=info["authority"])
    token = {"X-Access-Token": sandbox["envdAccessToken"]}
    name = f"8080-{sandbox['sandboxID']}.{sandbox['domain']}"
    async with resolving(DOMAIN) as proxy:
        async with httpx.AsyncClient(verify=trust, proxy=proxy, headers=token) as client:
            answer = await client.post(f"https://{name}/invocations", json={"n": 1})
            assert (answer.status_code, answer.json()) == (200, {"n": 1})
            async with client.stream("GET", f"https://{name}/endless") as stream:
                chunks = stream.aiter_bytes()
                assert [await anext(chunks), await anext(chunks)] == [b"chunk\n", b"chunk\n"]
        async with connect(f"wss://{name}/ws", ssl=trust, proxy=proxy, additional_headers=token) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"


@pytest.mark.promise("serve.tls")
async def test_the_public_client_needs_a_domain_a_key_and_trust_only(platform: Platform, tmp_path: Path) -> None:
    await platform.deploy(write_agent(tmp_path / "agent", source=TALKS))
    info = announced(platform)
    async with resolving(DOMAIN) as proxy:
        environment = {
            "PATH": os.environ["PATH"],
            "E2B_API_KEY": platform.env["E2B_API_KEY"],
            "E2B_DOMAIN": info["domain"],
            "SSL_CERT_FILE": info["bundle"],
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STRANGER, proxy, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
    assert said.decode().splitlines()[-1:] == ["True"], said.decode()


@pytest.mark.promise("serve.tls")
async def test_the_authority_outlives_a_restart_and_vouches_for_its_domain_only(platform: Platform) -> None:
    authority = Path(announced(platform)["authority"])
    before = read(authority)
    await platform.stop()
    await platform.start()
    assert read(authority) == before
    [only] = [
        extension.value
        for extension in x509.load_pem_x509_certificate(before).extensions
        if isinstance(extension.value, x509.NameConstraints)
    ]
    assert only.permitted_subtrees == [x509.DNSName(DOMAIN)]
    assert (authority.parent / "authority.key").stat().st_mode & 0o077 == 0
    assert (authority.parent / "server.pem").stat().st_mode & 0o077 == 0


@pytest.mark.promise("serve.tls")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--domain", "localhost", "--tls", "self"), "is not a domain such as sandbox.local"),
        (("--domain", DOMAIN, "--tls", "/nowhere.pem"), "there is no /nowhere.pem"),
    ],
)
async def test_what_cannot_be_served_is_said_at_once(tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    platform = Platform(tmp_path / "data", *options)
    with pytest.raises(PlatformEnded):
        await platform.start()
    said = " ".join(platform.log.read_text().replace("│", " ").split())
    assert sentence in said
