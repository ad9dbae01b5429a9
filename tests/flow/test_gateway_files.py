"""The gateway's files over HTTP (cases 41 and 69 to 83 of the contract)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from support.callers import agent, new_key
from support.platform import Platform, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

pytestmark = pytest.mark.anyio
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with Platform(tmp_path_factory.mktemp("files") / "data", "--largest-file", "8Mi", "--storage", "64Mi") as running:
        yield running


def refused(reply: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    detail = reply.json()["detail"]
    assert code in {None, detail["error_code"]}
    assert detail["request_id"] == reply.headers["x-request-id"]
    return detail


async def upload(
    server: Platform, content: bytes = b"content", name: str = "a.txt", media: str = "text/plain", **fields: Any
) -> dict[str, Any]:
    path = "upload_temp" if fields else "upload"
    reply = await server.api.post(f"/internal/files/{path}", data=fields, files={"file": (name, content, media)}, headers=agent(server))
    assert reply.status_code == 200, reply.text
    return reply.json()


async def presigned(server: Platform, s3_url: str, **params: Any) -> str:
    reply = await server.api.get("/internal/files/download", params={"s3_url": s3_url, "mode": "presigned"} | params)
    assert reply.status_code == 200, reply.text
    return reply.json()["presigned_url"]


async def offered(server: Platform, name: str = "in.bin", media: str | None = None) -> dict[str, Any]:
    reply = await server.api.post("/internal/files/generate_upload_url", json={"filename": name, "content_type": media})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def bare(method: str, url: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        return await client.request(method, url, **options)


@pytest.mark.promise("gateway-files.round_trip")
async def test_files_go_in_and_come_out(server: Platform) -> None:
    found = await upload(server, b"report", "result.pdf", "application/pdf")
    assert found["success"] is True
    assert (found["filename"], found["size"]) == ("result.pdf", 6)
    assert found["s3_url"].startswith("s3://sandyard/agent-outputs/default/tester/")
    reply = await bare("GET", await presigned(server, found["s3_url"]))
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"report", "application/pdf")
    temp = await upload(server, b"x", "t.jpg", ttl="3600", session_id="s-1")
    assert temp["s3_url"].startswith("s3://sandyard/agent-workspace/default/tester/s-1/")
    assert temp["expires_at"] > "2026"
    given = await offered(server, "报告 x.txt", "text/plain")
    assert given["s3_url"].startswith("s3://sandyard/agent-inputs/default/")
    assert given["expires_in"] == 900
    assert (await bare("PUT", given["upload_url"], content=b"input", headers={"Content-Type": "text/plain"})).status_code == 200
    reply = await bare("GET", await presigned(server, given["s3_url"]))
    assert reply.content == b"input"
    assert "%E6%8A%A5%E5%91%8A%20x.txt" in reply.headers["content-disposition"]


@pytest.mark.promise("gateway-files.41")
async def test_other_peoples_files_are_refused_and_deleted_ones_are_gone(server: Platform) -> None:
    mine = (await upload(server, ttl="100", session_id="gone-41"))["s3_url"]
    key, _ = await new_key(server, "files-41")
    reply = await bare("GET", server.api_url + "/internal/files/download", params={"s3_url": mine}, headers={"X-API-Key": key})
    refused(reply, 403, "PERMISSION_DENIED")
    deleted = await server.api.delete("/internal/files/cleanup_temp", params={"session_id": "gone-41"}, headers=agent(server))
    assert deleted.json() == {"deleted_count": 1}
    refused(await server.api.get("/internal/files/download", params={"s3_url": mine}), 404, "NOT_FOUND")
    for url, status in (("s3://other/x/y", 403), ("s3://sandyard/../x", 422), ("s3://sandyard", 422), ("http://x/y", 422), ("", 422)):
        refused(await server.api.get("/internal/files/download", params={"s3_url": url}), status)


NAMES = {
    "../../etc/passwd": "passwd",
    "C:\\x\\y.txt": "y.txt",
    "a/b.txt": "b.txt",
    "..": "file",
    ".htaccess": "htaccess",
    "x" * 4000 + ".pdf": "x" * 196 + ".pdf",
    "invoice\u202efdp.exe": "invoicefdp.exe",
    "报告.txt": "报告.txt",
    'say "hi".txt': "say _hi_.txt",
}


@pytest.mark.promise("gateway-files.69")
@pytest.mark.parametrize("name", NAMES)
async def test_names_are_for_showing_only(server: Platform, name: str) -> None:
    found = await upload(server, name=name)
    assert found["filename"] == NAMES[name]
    *above, last = found["s3_url"].split("/")
    assert above[2:6][:3] == ["sandyard", "agent-outputs", "default"]
    assert len(above) == 7
    assert last.isascii()
    assert len(last) <= 100
    assert not last.startswith(".")


@pytest.mark.promise("gateway-files.69")
async def test_a_name_may_be_empty_or_hold_a_null(server: Platform) -> None:
    for name in ("", "a\0b"):
        given = await offered(server, name)
        assert given["s3_url"].rpartition("/")[2] in {"file", "ab"}


@pytest.mark.promise("gateway-files.70-71")
async def test_sessions_and_times_are_checked(server: Platform) -> None:
    for session in ("../other", "", "a" * 300, "a/b", "*", "ä"):
        reply = await server.api.post(
            "/internal/files/upload_temp", data={"session_id": session}, files={"file": ("a", b"x")}, headers=agent(server)
        )
        refused(reply, 422, "VALIDATION_ERROR")
    for ttl in ("0", "-1", "1000000000000", "abc", "1e3", "", " 5"):
        reply = await server.api.post("/internal/files/upload_temp", data={"ttl": ttl}, files={"file": ("a", b"x")}, headers=agent(server))
        refused(reply, 422, "VALIDATION_ERROR")


@pytest.mark.promise("gateway-files.72-73")
async def test_forms_are_read_strictly(server: Platform) -> None:
    assert (await upload(server, b""))["size"] == 0
    path, headers = "/internal/files/upload", agent(server)

    async def send(body: bytes, kind: str = "multipart/form-data; boundary=b") -> httpx.Response:
        return await server.api.post(path, content=body, headers=headers | {"Content-Type": kind})

    one = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n'
    field = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nv\r\n'
    long = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + b"a" * MEBIBYTE + b'"\r\n\r\nx\r\n--b--\r\n'
    for body in (
        one + one + b"--b--\r\n",
        field + b"--b--\r\n",
        field * 10_000 + one + b"--b--\r\n",
        long,
        one,
        b"",
        b"no form",
        one + field + b"--b--",
    ):
        refused(await send(body), 422, "VALIDATION_ERROR")
    for kind in ("application/json", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 300):
        refused(await send(one, kind), 415, "UNSUPPORTED_MEDIA_TYPE")
    other = one.replace(b'name="file"', b'name="other"')
    refused(await send(other + b"--b--\r\n"), 422, "VALIDATION_ERROR")


@pytest.mark.promise("gateway-files.74")
async def test_a_signed_url_is_for_one_thing(server: Platform) -> None:
    one, other = (await upload(server))["s3_url"], (await upload(server))["s3_url"]
    url = await presigned(server, one)
    for method in ("PUT", "DELETE", "POST", "PATCH"):
        refused(await bare(method, url, content=b"x"), 403, "PERMISSION_DENIED")
    key = one.removeprefix("s3://sandyard/")
    changed = (
        url.replace(key, other.removeprefix("s3://sandyard/")),
        url.replace("expires=", "expires=9"),
        url.replace("signature=", "signature=0"),
        url.partition("?")[0],
        url + "&expires=99999999999",
        url.replace(urlsplit(url).query, "expires=nan&signature=x"),
    )
    for wrong in changed:
        refused(await bare("GET", wrong), 403, "PERMISSION_DENIED")
    short = await presigned(server, one, expires_in=1)
    await until(lambda: _is(bare("GET", short), 403))
    refused(await bare("GET", (await offered(server))["upload_url"]), 403, "PERMISSION_DENIED")


async def _is(request: Any, status: int) -> bool:
    return (await request).status_code == status


@pytest.mark.promise("gateway-files.75-77")
async def test_an_upload_url_takes_one_file_as_signed(server: Platform) -> None:
    given = await offered(server, media="image/png")
    refused(await bare("PUT", given["upload_url"], content=b"x", headers={"Content-Type": "text/html"}), 403, "PERMISSION_DENIED")
    refused(await bare("PUT", given["upload_url"], content=b"x"), 403, "PERMISSION_DENIED")
    png = {"Content-Type": "image/png"}
    for body in (b"x" * (8 * MEBIBYTE + 1), _pieces(9)):
        refused(await bare("PUT", given["upload_url"], content=body, headers=png), 413, "PAYLOAD_TOO_LARGE")
        refused(await server.api.get("/internal/files/download", params={"s3_url": given["s3_url"]}), 404)
    statuses = await asyncio.gather(*(bare("PUT", given["upload_url"], content=b"%d" % n, headers=png) for n in range(8)))
    assert sorted(reply.status_code for reply in statuses) == [200] + [409] * 7
    refused(await bare("PUT", given["upload_url"], content=b"again", headers=png), 409, "CONFLICT")


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * MEBIBYTE


@pytest.mark.promise("gateway-files.78-79")
async def test_numbers_and_tokens_are_checked(server: Platform) -> None:
    url = (await upload(server))["s3_url"]
    for seconds in ("0", "-5", "1000000000", "x"):
        refused(await server.api.get("/internal/files/download", params={"s3_url": url, "expires_in": seconds}), 422, "VALIDATION_ERROR")
    for limit in ("0", "-1", "1000000000", "x"):
        refused(await server.api.get("/internal/files/list", params={"limit": limit}, headers=agent(server)), 422, "VALIDATION_ERROR")
    me = agent(server, name="lister")
    urls = set[str]()
    for number in range(5):
        reply = await server.api.post("/internal/files/upload", files={"file": (f"{number}.txt", b"x")}, headers=me)
        urls.add(reply.json()["s3_url"])
    page = (await server.api.get("/internal/files/list", params={"limit": 3}, headers=me)).json()
    rest = (await server.api.get("/internal/files/list", params={"limit": 3, "continuation_token": page["next_token"]}, headers=me)).json()
    assert "next_token" not in rest
    assert {file["s3_url"] for file in page["files"] + rest["files"]} == urls
    assert {"key", "size", "last_modified", "s3_url"} <= set(page["files"][0])
    token = page["next_token"]
    wrong = (token[:-2] + "AA", "x", "", "a" * 9000)
    for forged in wrong:
        reply = await server.api.get("/internal/files/list", params={"continuation_token": forged}, headers=me)
        refused(reply, 422, "VALIDATION_ERROR")
    for path, headers in (("list", agent(server, name="other")), ("list_temp", me)):
        reply = await server.api.get(f"/internal/files/{path}", params={"continuation_token": token}, headers=headers)
        refused(reply, 422, "VALIDATION_ERROR")


@pytest.mark.promise("gateway-files.80")
async def test_exactly_one_session_is_cleaned_up(server: Platform) -> None:
    kept = await upload(server, ttl="100", session_id="abcd")
    await upload(server, ttl="100", session_id="abc")
    await upload(server, ttl="100", session_id="abc")
    for session in ("", "*", "a/../b", "%"):
        refused(await server.api.delete("/internal/files/cleanup_temp", params={"session_id": session}, headers=agent(server)), 422)
    other = await server.api.delete("/internal/files/cleanup_temp", params={"session_id": "abc"}, headers=agent(server, name="other"))
    assert other.json() == {"deleted_count": 0}
    reply = await server.api.delete("/internal/files/cleanup_temp", params={"session_id": "abc"}, headers=agent(server))
    assert (reply.status_code, reply.json()) == (200, {"deleted_count": 2})
    listed = (await server.api.get("/internal/files/list_temp", params={"session_id": "abcd"}, headers=agent(server))).json()
    assert [file["s3_url"] for file in listed["files"]] == [kept["s3_url"]]


@pytest.mark.promise("gateway-files.81")
async def test_what_is_over_is_gone_at_once_and_its_bytes_soon(server: Platform) -> None:
    found = await upload(server, b"secret words", ttl="1", session_id="short")
    url = await presigned(server, found["s3_url"])
    await until(lambda: _is(bare("GET", url), 404))
    refused(await server.api.get("/internal/files/download", params={"s3_url": found["s3_url"]}), 404)
    listed = await server.api.get("/internal/files/list_temp", params={"session_id": "short"}, headers=agent(server))
    assert listed.json() == {"files": []}
    blob = server.data_dir / "blobs" / "kept" / found["s3_url"].removeprefix("s3://sandyard/")

    async def swept() -> bool:
        return not blob.exists()

    await until(swept, 60)


@pytest.mark.promise("gateway-files.82")
async def test_a_file_is_kept_and_never_shown(server: Platform) -> None:
    found = await upload(server, b"<script>alert(1)</script>", "a.html", "text/html")
    reply = await bare("GET", await presigned(server, found["s3_url"]))
    assert reply.headers["content-disposition"].startswith("attachment")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in reply.headers["content-security-policy"]


@pytest.mark.promise("gateway-files.83")
async def test_parts_heads_and_conditions(server: Platform) -> None:
    whole = bytes(range(256)) * 20_000
    url = await presigned(server, (await upload(server, whole))["s3_url"])
    for wanted, status, part in (
        ("bytes=0-0", 206, whole[:1]),
        ("bytes=100-4200000", 206, whole[100:4_200_001]),
        ("bytes=5119999-", 206, whole[5_119_999:]),
        ("bytes=-7", 206, whole[-7:]),
        ("bytes=0-99999999", 206, whole),
        ("bytes=9-1", 200, whole),
        ("bytes=0-1,5-6", 200, whole),
        ("items=0-1", 200, whole),
    ):
        reply = await bare("GET", url, headers={"Range": wanted})
        assert (reply.status_code, reply.content) == (status, part), wanted
    reply = await bare("GET", url, headers={"Range": "bytes=5120000-"})
    refused(reply, 416, "RANGE_NOT_SATISFIABLE")
    assert reply.headers["content-range"] == "bytes */5120000"
    head = await bare("HEAD", url)
    assert (head.headers["content-length"], head.content) == ("5120000", b"")
    assert (await bare("GET", url, headers={"If-None-Match": head.headers["etag"]})).status_code == 304
    assert (await bare("GET", url, headers={"Range": "bytes=0-0", "If-Range": '"other"'})).status_code == 200


@pytest.mark.promise("gateway-files.83")
async def test_an_upload_that_breaks_off_leaves_nothing(server: Platform) -> None:
    given = await offered(server, "half.bin")
    address = urlsplit(str(given["upload_url"]))
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"PUT {address.path}?{address.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n".encode() + b"x" * 3_000_000)
    await writer.drain()
    refused(await server.api.get("/internal/files/download", params={"s3_url": given["s3_url"]}), 404)
    writer.close()
    await writer.wait_closed()
    await until(lambda: _is(bare("PUT", given["upload_url"], content=b"whole"), 200))
    assert (await bare("GET", await presigned(server, given["s3_url"]))).content == b"whole"


@pytest.mark.promise("gateway-files.quota")
async def test_the_tenants_bytes_are_bounded(tmp_path: Any) -> None:
    async with Platform(tmp_path / "data", "--storage", "20Mi", "--largest-file", "8Mi") as server:

        async def send(_: int) -> int:
            body = {"file": ("a", b"x" * (6 * MEBIBYTE))}
            reply = await server.api.post("/internal/files/upload_temp", data={"session_id": "s"}, files=body, headers=agent(server))
            if reply.status_code != 200:
                found = refused(reply, 429, "QUOTA_EXCEEDED")
                assert (found["quota_type"], found["limit"]) == ("stored_bytes", 20 * MEBIBYTE)
            return reply.status_code

        assert (await asyncio.gather(*map(send, range(8)))).count(200) in {2, 3}  # each one reserves ahead
        assert [await send(n) for n in range(2)][-1] == 429
        usage = (await server.api.get("/v1/usage")).json()
        assert usage["stored_bytes"] == {"limit": 20 * MEBIBYTE, "used": 18 * MEBIBYTE}
        await server.api.delete("/internal/files/cleanup_temp", params={"session_id": "s"}, headers=agent(server))
        assert await send(0) == 200


@pytest.mark.slow
@pytest.mark.promise("gateway-files.flat")
async def test_large_files_go_through_in_flat_memory(tmp_path: Any) -> None:
    async with Platform(tmp_path / "data") as server:
        await upload(server, b"x" * MEBIBYTE)
        before = server.peak_memory()
        given = await offered(server)
        began = time.monotonic()
        assert (await bare("PUT", given["upload_url"], content=_pieces(256))).status_code == 200
        size = 0
        async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", await presigned(server, given["s3_url"])) as reply:
            async for chunk in reply.aiter_raw():
                size += len(chunk)
        assert size == 256 * MEBIBYTE
        assert server.peak_memory() - before < 48 * MEBIBYTE
        assert time.monotonic() - began < 60


@pytest.mark.promise("gateway-files.kill")
async def test_a_killed_server_leaves_no_half_file(tmp_path: Any) -> None:
    async with Platform(tmp_path / "data") as server:
        kept = await upload(server, b"kept")
        given = await offered(server)
        address = urlsplit(str(given["upload_url"]))
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(
            f"PUT {address.path}?{address.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n".encode() + b"x" * 3_000_000
        )
        await writer.drain()
        await until(lambda: _is(bare("PUT", given["upload_url"], content=b"x"), 409))
        await server.restart()
        writer.close()
        refused(await server.api.get("/internal/files/download", params={"s3_url": given["s3_url"]}), 404)
        assert (await bare("GET", await presigned(server, kept["s3_url"]))).content == b"kept"
        again = given["upload_url"].replace(f"{address.hostname}:{address.port}", urlsplit(server.api_url).netloc)
        assert (await bare("PUT", again, content=b"whole")).status_code == 200
        assert (await server.api.get("/v1/usage")).json()["stored_bytes"]["used"] == len(b"keptwhole")
