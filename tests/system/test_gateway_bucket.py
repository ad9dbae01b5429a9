"""Files in a bucket of a real S3-compatible server (SeaweedFS), through the same gateway."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from gateway_sdk import AsyncGatewayClient
from support.callers import agent
from support.platform import Platform, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
MEBIBYTE = 1024 * 1024
KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "of-the-test"}


def _free(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def _configured(directory: Path) -> Path:
    directory.mkdir()
    config = directory / "s3.json"
    identity = {"name": "tester", "credentials": [{"accessKey": "tester", "secretKey": "of-the-test"}], "actions": ["Admin"]}
    config.write_text(json.dumps({"identities": [identity]}))
    return config


@asynccontextmanager
async def seaweed(directory: Path) -> AsyncGenerator[str]:
    """Run a SeaweedFS server with the bucket `bytes`; yield its S3 endpoint."""
    config = _configured(directory)
    ports = _free(8)
    names = (
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
    )
    options = [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-s3",
        f"-s3.config={config}",
        "-master.volumeSizeLimitMB=64",
        *options,
        cwd=directory,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{ports[6]}"
    try:
        await until(lambda: _bucket(endpoint), 60)
        yield endpoint
    finally:
        process.kill()
        await process.wait()


def opened(endpoint: str) -> S3Store:
    """Return the bucket, past the platform."""
    return S3Store(
        "bytes",
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="tester",
        secret_access_key="of-the-test",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


async def _bucket(endpoint: str) -> bool:
    """Make the bucket; False while the server is not ready."""
    store = opened(endpoint)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.put(await obstore.sign_async(store, "PUT", "", timedelta(seconds=60)))
        await obstore.put_async(store, "probe", b"x")
    except (BaseError, OSError, httpx.HTTPError):
        return False
    return True


@pytest.fixture(scope="module")
async def endpoint(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[str]:
    async with seaweed(tmp_path_factory.mktemp("bucket") / "weed") as url:
        yield url


@asynccontextmanager
async def platform(data: Path, endpoint: str, more: str = "", *options: str) -> AsyncGenerator[Platform]:
    """Run a platform on the bucket, with its keys in the environment."""
    os.environ.update(KEYS)
    try:
        async with Platform(data, "--blobs", f"s3://bytes/sandyard?endpoint={endpoint}{more}", *options) as server:
            yield server
    finally:
        for name in KEYS:
            os.environ.pop(name, None)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> AsyncGenerator[Platform]:
    async with platform(
        tmp_path_factory.mktemp("platform") / "data", endpoint, "", "--largest-file", "64Mi", "--storage", "256Mi"
    ) as running:
        yield running


async def bare(method: str, url: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        return await client.request(method, url, **options)


async def offered(server: Platform, size: int, media: str | None = None, **headers: str) -> dict[str, Any]:
    """Announce an upload; return the offer."""
    body = {"filename": "报告 x.html", "content_type": media}
    reply = await server.api.post(
        "/internal/files/generate_upload_url", json=body, headers={"X-Upload-Content-Length": str(size), **headers}
    )
    assert reply.status_code == 200, reply.text
    return reply.json()


async def asked(server: Platform, s3_url: str, **params: Any) -> httpx.Response:
    return await server.api.get("/internal/files/download", params={"s3_url": s3_url} | params)


async def stored(server: Platform, content: bytes) -> str:
    """Upload to the bucket itself; return the s3:// URL."""
    given = await offered(server, len(content))
    assert (await bare("PUT", given["upload_url"], content=content, headers=given["headers"])).status_code == 200
    return given["s3_url"]


def kept(server: Platform) -> list[tuple[str, int]]:
    """Return state and size of each input file's row, oldest first."""
    rows = sqlite3.connect(server.data_dir / "sandyard.db")
    try:
        return rows.execute("SELECT state, size FROM files WHERE kind = 'agent-inputs' ORDER BY rowid").fetchall()
    finally:
        rows.close()


async def used(server: Platform) -> int:
    return (await server.api.get("/v1/usage")).json()["stored_bytes"]["used"]


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(range(256)) * 4096


@pytest.mark.promise("gateway-files.s3")
async def test_files_lie_in_a_bucket(server: Platform) -> None:
    given = (await server.api.post("/internal/files/generate_upload_url", json={"filename": "a.bin"})).json()
    assert given["upload_url"].startswith(server.api_url)  # who announces no size has not changed: the bytes come to us
    assert set(given) == {"upload_url", "s3_url", "expires_in"}
    assert (await bare("PUT", given["upload_url"], content=_pieces(20))).status_code == 200
    url = (await asked(server, given["s3_url"])).json()["presigned_url"]
    assert (await bare("GET", url)).content == bytes(range(256)) * 4096 * 20
    body = {"file": ("t.txt", b"short")}
    kept = await server.api.post("/internal/files/upload_temp", data={"session_id": "s"}, files=body, headers=agent(server))
    assert kept.status_code == 200, kept.text
    url = (await asked(server, kept.json()["s3_url"])).json()["presigned_url"]
    assert url.startswith(server.api_url)  # it may be over before the address is
    gone = await server.api.delete("/internal/files/cleanup_temp", params={"session_id": "s"}, headers=agent(server))
    assert gone.json() == {"deleted_count": 1}
    assert (await bare("GET", url)).status_code == 404
    assert not (server.data_dir / "blobs" / "kept").exists()


@pytest.mark.promise("gateway-files.direct_up")
async def test_an_announced_upload_goes_to_the_bucket_itself(server: Platform, endpoint: str) -> None:
    before, content = await used(server), bytes(range(256)) * 4096
    given = await offered(server, len(content), "text/html")
    assert given["upload_url"].startswith(f"{endpoint}/bytes/sandyard/kept/agent-inputs/")
    assert given["headers"] == {"If-None-Match": "*", "Content-Type": "text/html"}
    assert await used(server) == before + len(content)
    assert (await asked(server, given["s3_url"])).status_code == 404
    for wrong in (given["headers"] | {"If-None-Match": "x"}, {"Content-Type": "text/html"}, {"If-None-Match": "*", "Content-Type": "a/b"}):
        assert (await bare("PUT", given["upload_url"], content=content, headers=wrong)).status_code == 403
    for other in (content + b"x", content[:-1], _pieces(1)):
        assert (await bare("PUT", given["upload_url"], content=other, headers=given["headers"])).status_code == 403
    assert (await asked(server, given["s3_url"])).status_code == 404
    assert (await bare("PUT", given["upload_url"], content=content, headers=given["headers"])).status_code == 200
    for _ in range(2):
        assert (await bare("PUT", given["upload_url"], content=b"y" * len(content), headers=given["headers"])).status_code == 412
        url = (await asked(server, given["s3_url"])).json()["presigned_url"]
        assert (await bare("GET", url)).content == content
    assert await used(server) == before + len(content)


@pytest.mark.promise("gateway-files.direct_up")
async def test_uploads_that_race_leave_the_first_that_is_whole(server: Platform) -> None:
    size = 2 * MEBIBYTE
    given = await offered(server, size)
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"a" * MEBIBYTE
        begun.set()
        await go.wait()
        yield b"a" * MEBIBYTE

    headers = given["headers"] | {"Content-Length": str(size)}
    first = asyncio.create_task(bare("PUT", given["upload_url"], content=slow(), headers=headers))
    await begun.wait()
    assert (await asked(server, given["s3_url"])).status_code == 404
    assert (await bare("PUT", given["upload_url"], content=b"b" * size, headers=given["headers"])).status_code == 200
    url = (await asked(server, given["s3_url"])).json()["presigned_url"]
    go.set()
    assert (await first).status_code == 412
    assert (await bare("GET", url)).content == b"b" * size


@pytest.mark.promise("gateway-files.direct_up")
async def test_what_is_not_what_was_announced_is_never_seen(server: Platform, endpoint: str) -> None:
    given = await offered(server, 10)
    key = "sandyard/kept/" + given["s3_url"].removeprefix("s3://sandyard/")
    await obstore.put_async(opened(endpoint), key, b"other")  # as by a bucket that lets lengths pass
    for _ in range(2):
        assert (await asked(server, given["s3_url"])).status_code == 404
    assert ("pending", 10) not in kept(server)


@pytest.mark.promise("gateway-files.direct_down")
async def test_an_address_in_the_bucket_is_for_one_thing(server: Platform, endpoint: str) -> None:
    content = b"<script>alert(1)</script>" * 1000
    one, other = await stored(server, content), await stored(server, b"other")
    url = (await asked(server, one)).json()["presigned_url"]
    assert url.startswith(f"{endpoint}/bytes/sandyard/kept/agent-inputs/")
    reply = await bare("GET", url)
    assert reply.content == content
    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''%E6%8A%A5%E5%91%8A%20x.html"
    assert (reply.headers["content-type"], reply.headers["cache-control"]) == ("application/octet-stream", "private, no-store")
    for wanted, part in (("bytes=0-0", content[:1]), ("bytes=24990-", content[24990:]), ("bytes=-7", content[-7:])):
        reply = await bare("GET", url, headers={"Range": wanted})
        assert (reply.status_code, reply.content) == (206, part)
    for method in ("PUT", "DELETE", "POST"):
        assert (await bare(method, url, content=b"x")).status_code in {403, 405}
    key = one.removeprefix("s3://sandyard/")
    for forged in (
        url.replace(key, other.removeprefix("s3://sandyard/")),
        url.replace("octet-stream", "x"),
        url.replace("X-Amz-Expires=3600", "X-Amz-Expires=36000"),
        url.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        url.partition("?")[0],
    ):
        assert forged != url
        assert (await bare("GET", forged)).status_code == 403
    short = (await asked(server, one, expires_in=1)).json()["presigned_url"]

    async def over() -> bool:
        return (await bare("GET", short)).status_code == 403

    await until(over)
    assert (await bare("GET", url)).status_code == 200


@pytest.mark.promise("gateway-files.direct_up", "gateway-files.direct_down")
async def test_what_one_announced_is_nobody_elses(server: Platform) -> None:
    other, url = agent(server, "bucket-other"), await stored(server, b"mine")
    reply = await bare("GET", server.api_url + "/internal/files/download", params={"s3_url": url}, headers=other)
    assert (reply.status_code, reply.json()["detail"]["error_code"]) == (403, "PERMISSION_DENIED")
    body, size = {"filename": "x"}, {"X-Upload-Content-Length": str(65 * MEBIBYTE)}
    reply = await server.api.post("/internal/files/generate_upload_url", json=body, headers=size)
    assert (reply.status_code, reply.json()["detail"]["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    other["X-Upload-Content-Length"] = str(60 * MEBIBYTE)
    path = server.api_url + "/internal/files/generate_upload_url"
    replies = await asyncio.gather(*(bare("POST", path, json=body, headers=other) for _ in range(6)))
    assert sorted(reply.status_code for reply in replies) == [200] * 4 + [429] * 2
    (refused, _) = [reply.json()["detail"] for reply in replies if reply.status_code == 429]
    assert (refused["error_code"], refused["quota_type"], refused["used"]) == ("QUOTA_EXCEEDED", "stored_bytes", 240 * MEBIBYTE)


@pytest.mark.promise("gateway-files.direct_up", "gateway-files.direct_off")
async def test_a_server_that_sends_nobody_there_finds_what_came_meanwhile(tmp_path: Path, endpoint: str) -> None:
    async with platform(tmp_path / "data", endpoint) as server:
        given, never = await offered(server, 4), await offered(server, 5)
        await server.kill9()
    assert (await bare("PUT", given["upload_url"], content=b"came", headers=given["headers"])).status_code == 200
    with sqlite3.connect(tmp_path / "data" / "sandyard.db") as rows:  # an hour and a quarter later
        rows.execute("UPDATE files SET expires_at = 1")
    rows.close()
    async with platform(tmp_path / "data", endpoint, "&presign=off") as server:

        async def settled() -> bool:
            return await used(server) == 4

        await until(settled, 60)
        url = (await asked(server, given["s3_url"])).json()["presigned_url"]
        assert url.startswith(server.api_url)
        assert (await bare("GET", url)).content == b"came"
        assert (await asked(server, never["s3_url"])).status_code == 404
        assert (await offered(server, 4))["upload_url"].startswith(server.api_url)


@pytest.mark.promise("gateway-files.direct_sdk")
async def test_the_sdk_goes_to_the_bucket_and_no_log_has_a_signature(server: Platform, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(bytes(range(256)) * 40_000)
    async with AsyncGatewayClient(base_url=server.api_url, api_key=server.key) as client:
        before = kept(server)
        url = await client.upload_input_file(tmp_path / "in.bin", "image/png")
        assert kept(server) == [*before, ("pending", 10_240_000)]  # nobody has asked for it, and the server has not seen its bytes
        link = await client.get_presigned_url(url)
        assert link.startswith(endpoint)
        await client.download_file(url, tmp_path / "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == (tmp_path / "in.bin").read_bytes()
    (tmp_path / "none.bin").touch()
    async with AsyncGatewayClient(base_url=server.api_url, api_key=server.key) as client:
        assert await client.upload_input_file(tmp_path / "none.bin") != url
    log = server.log.read_text()
    assert "X-Amz-Signature" not in log
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in log
