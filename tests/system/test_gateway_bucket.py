"""Files in a bucket of a real S3-compatible server (SeaweedFS), through the same gateway."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

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


async def _bucket(endpoint: str) -> bool:
    """Make the bucket; False while the server is not ready."""
    store = S3Store(
        "bytes",
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="tester",
        secret_access_key="of-the-test",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.put(await obstore.sign_async(store, "PUT", "", timedelta(seconds=60)))
        await obstore.put_async(store, "probe", b"x")
    except (BaseError, OSError, httpx.HTTPError):
        return False
    return True


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(range(256)) * 4096


@pytest.mark.promise("gateway-files.s3")
async def test_files_lie_in_a_bucket(tmp_path: Path) -> None:
    async with seaweed(tmp_path / "weed") as endpoint:
        os.environ.update(KEYS)
        try:
            async with Platform(tmp_path / "data", "--blobs", f"s3://bytes/sandyard?endpoint={endpoint}") as server:
                offer = await server.api.post("/internal/files/generate_upload_url", json={"filename": "a.bin"})
                given = offer.json()
                async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                    assert (await client.put(given["upload_url"], content=_pieces(20))).status_code == 200
                    asked = await server.api.get("/internal/files/download", params={"s3_url": given["s3_url"]})
                    url = asked.json()["presigned_url"]
                    whole = await client.get(url)
                    assert whole.content == bytes(range(256)) * 4096 * 20
                    part = await client.get(url, headers={"Range": f"bytes={9 * MEBIBYTE}-{9 * MEBIBYTE + 255}"})
                    assert (part.status_code, part.content) == (206, bytes(range(256)))
                body = {"file": ("t.txt", b"short")}
                stored = await server.api.post("/internal/files/upload_temp", data={"session_id": "s"}, files=body, headers=agent(server))
                assert stored.status_code == 200, stored.text
                gone = await server.api.delete("/internal/files/cleanup_temp", params={"session_id": "s"}, headers=agent(server))
                assert gone.json() == {"deleted_count": 1}
                assert not (server.data_dir / "blobs" / "kept").exists()
        finally:
            for name in KEYS:
                del os.environ[name]
