"""Cases 69 to 83 of the gateway contract's §4.3, and 41: files."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from support.abuse import detail, raw, statuses
from support.hostile_tokens import Minter
from support.platform import Platform, until
from support.prefabs import KIT, call, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def storing(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """A platform that takes files of 2 MiB at most."""
    async with Platform(tmp_path_factory.mktemp("storing") / "data", "--largest-file", "2Mi") as running:
        yield running


@pytest.fixture
async def agent(storing: Platform) -> AsyncGenerator[httpx.AsyncClient]:
    """An agent of the platform's first tenant; each test is another one."""
    async with as_agent(storing) as client:
        yield client


def as_agent(platform: Platform, user: str = "default") -> httpx.AsyncClient:
    minter = Minter(platform)
    token = minter.agent(f"agent-{minter.claims()['jti'][:8]}", user=user, tenant=user)
    return httpx.AsyncClient(base_url=platform.api_url, headers={"X-Internal-Token": token}, trust_env=False, timeout=20)


async def put(agent: httpx.AsyncClient, content: bytes = b"content", *, name: str = "a.txt", media: str | None = None) -> tuple[str, str]:
    """Store an input file; return its s3:// URL and the URL that it went to."""
    offer = await offered(agent, name, media)
    reply = await bare(agent, "PUT", offer["upload_url"], content=content, headers={"Content-Type": media} if media else {})
    assert reply.status_code == 200, reply.text
    return offer["s3_url"], offer["upload_url"]


async def offered(agent: httpx.AsyncClient, name: str, media: str | None = None) -> dict[str, Any]:
    reply = await agent.post("/internal/files/generate_upload_url", json={"filename": name, "content_type": media})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def link(agent: httpx.AsyncClient, s3_url: str, expires_in: int = 60) -> str:
    reply = await agent.get("/internal/files/download", params={"s3_url": s3_url, "mode": "presigned", "expires_in": expires_in})
    assert reply.status_code == 200, reply.text
    return reply.json()["presigned_url"]


async def bare(agent: httpx.AsyncClient, method: str, url: str, **options: Any) -> httpx.Response:
    """Send a request without any credential."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.request(method, url, **options)


async def temp(agent: httpx.AsyncClient, *, name: str = "t.txt", content: bytes = b"t", **fields: str) -> httpx.Response:
    return await agent.post("/internal/files/upload_temp", data=fields, files={"file": (name, content)})


async def listed(agent: httpx.AsyncClient, path: str = "list", **params: Any) -> list[str]:
    reply = await agent.get(f"/internal/files/{path}", params=params)
    assert reply.status_code == 200, reply.text
    return [item["s3_url"] for item in reply.json()["files"]]


@pytest.mark.promise("abuse.41")
async def test_41_files_of_others_and_of_the_past(abused: Platform) -> None:
    async with as_agent(abused, "stranger-41") as stranger, as_agent(abused) as agent:
        theirs, _ = await put(stranger)
        reply = await run(abused, call(KIT, "read_inputs", files={"texts": [theirs]}))
        detail(reply, 403, "PERMISSION_DENIED")
        detail(await agent.get("/internal/files/download", params={"s3_url": theirs}), 403, "PERMISSION_DENIED")
        mine = (await temp(agent, ttl="60", session_id="s41")).json()["s3_url"]
        assert (await agent.delete("/internal/files/cleanup_temp", params={"session_id": "s41"})).json() == {"deleted_count": 1}
        detail(await run(abused, call(KIT, "read_inputs", files={"texts": [mine]})), 404, "NOT_FOUND")


@pytest.mark.promise("abuse.69")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\x", "x"),
        ("a/b", "b"),
        ("nul\x00byte.txt", "nulbyte.txt"),
        (".htaccess", "htaccess"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("", "file"),
        ("..", "file"),
        ("%2e%2e%2fx", "%2e%2e%2fx"),
        ("报告.pdf", "报告.pdf"),
        ("a\r\nSet-Cookie: x.txt", "aSet-Cookie_ x.txt"),
    ],
)
async def test_69_names(agent: httpx.AsyncClient, name: str, shown: str) -> None:
    s3_url, _ = await put(agent, name=name)
    key = urlsplit(s3_url).path
    assert ".." not in key
    assert "\\" not in key
    assert key.startswith("/agent-inputs/default/")
    assert all(part and part.isascii() and part.isprintable() for part in key[1:].split("/"))
    reply = await bare(agent, "GET", await link(agent, s3_url))
    assert reply.content == b"content"
    assert "set-cookie" not in reply.headers
    uploaded = await agent.post("/internal/files/upload", files={"file": (name or "empty", b"x")})
    if name.isprintable() and name:
        assert uploaded.status_code == 200, uploaded.text
        assert uploaded.json()["filename"] == shown


@pytest.mark.promise("abuse.69")
async def test_69_long_names(agent: httpx.AsyncClient) -> None:
    s3_url, _ = await put(agent, name="x" * 4096)
    assert len(s3_url) < 400
    reply = await agent.post("/internal/files/generate_upload_url", json={"filename": "x" * 5000})
    detail(reply, 422, "VALIDATION_ERROR")


@pytest.mark.promise("abuse.70")
@pytest.mark.parametrize("session", ["../other", "", "x" * 300, "a/b", "a b", "*", "a\x00"])
async def test_70_sessions_that_are_none(agent: httpx.AsyncClient, session: str) -> None:
    detail(await temp(agent, session_id=session), 422, "VALIDATION_ERROR")
    detail(await agent.get("/internal/files/list_temp", params={"session_id": session}), 422, "VALIDATION_ERROR")


@pytest.mark.promise("abuse.70")
async def test_70_sessions_of_others(storing: Platform) -> None:
    async with as_agent(storing, "one-70") as one, as_agent(storing, "two-70") as two:
        assert (await temp(one, session_id="shared")).status_code == 200
        assert await listed(two, "list_temp", session_id="shared") == []
        assert (await two.delete("/internal/files/cleanup_temp", params={"session_id": "shared"})).json() == {"deleted_count": 0}
        assert len(await listed(one, "list_temp", session_id="shared")) == 1


@pytest.mark.promise("abuse.71")
@pytest.mark.parametrize("ttl", ["0", "-1", str(10**12), "abc", "", "1.5", "1e3", "\uff19"])
async def test_71_ttls(agent: httpx.AsyncClient, ttl: str) -> None:
    assert detail(await temp(agent, ttl=ttl), 422, "VALIDATION_ERROR")["pointer"] == "/ttl"
    assert await listed(agent, "list_temp") == []


@pytest.mark.promise("abuse.72")
async def test_72_an_empty_file(agent: httpx.AsyncClient) -> None:
    reply = await agent.post("/internal/files/upload", files={"file": ("empty.txt", b"")})
    assert reply.status_code == 200, reply.text
    assert reply.json()["size"] == 0
    got = await bare(agent, "GET", await link(agent, reply.json()["s3_url"]))
    assert (got.status_code, got.content) == (200, b"")


@pytest.mark.promise("abuse.73")
async def test_73_forms(agent: httpx.AsyncClient) -> None:
    upload = "/internal/files/upload"
    detail(await agent.post(upload, files={"other": (None, "x")}), 422, "VALIDATION_ERROR")
    detail(await agent.post(upload, files=[("file", ("a", b"a")), ("file", ("b", b"b"))]), 422, "VALIDATION_ERROR")
    detail(await agent.post(upload, files=[(f"f{number}", (None, "x")) for number in range(10_000)]), 422, "VALIDATION_ERROR")
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nX-Long: ' + b"x" * 2**20 + b"\r\n\r\na\r\n--b--\r\n"
    reply = await agent.post(upload, content=head, headers=form)
    assert reply.status_code in {413, 422}
    for body in (b"", b"--b", b"no form", b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'):
        detail(await agent.post(upload, content=body, headers=form), 422, "VALIDATION_ERROR")
    detail(await agent.post(upload, json={}), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert await listed(agent) == []


@pytest.mark.promise("abuse.74")
async def test_74_signed_urls_are_for_one_thing(agent: httpx.AsyncClient) -> None:
    first, put_url = await put(agent)
    second, _ = await put(agent, b"other")
    url = await link(agent, first)
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        detail(await bare(agent, method, url, content=b"x"), 403, "PERMISSION_DENIED")
    for method in ("GET", "DELETE"):
        detail(await bare(agent, method, put_url), 403, "PERMISSION_DENIED")
    swapped = url.replace(urlsplit(first).path, urlsplit(second).path)
    assert swapped != url
    detail(await bare(agent, "GET", swapped), 403, "PERMISSION_DENIED")
    expires = httpx.URL(url).params["expires"]
    for edited in (str(int(expires) + 3600), "9" * 15, "-1", "x", ""):
        detail(await bare(agent, "GET", url.replace(f"expires={expires}", f"expires={edited}")), 403, "PERMISSION_DENIED")
    detail(await bare(agent, "GET", url.partition("?")[0]), 403, "PERMISSION_DENIED")
    detail(await bare(agent, "GET", url + "0"), 403, "PERMISSION_DENIED")
    short = await link(agent, first, expires_in=1)

    async def over() -> bool:
        return (await bare(agent, "GET", short)).status_code == 403

    await until(over, 5)


@pytest.mark.promise("abuse.75")
async def test_75_one_put(agent: httpx.AsyncClient) -> None:
    s3_url, put_url = await put(agent, b"first")
    assert (await bare(agent, "PUT", put_url, content=b"second")).status_code == 409
    assert (await bare(agent, "GET", await link(agent, s3_url))).content == b"first"
    offer = await offered(agent, "race.txt")
    answers = await asyncio.gather(*[bare(agent, "PUT", offer["upload_url"], content=b"%d" % number) for number in range(8)])
    assert sorted(reply.status_code for reply in answers) == [200] + [409] * 7


@pytest.mark.promise("abuse.76")
async def test_76_the_signed_type(agent: httpx.AsyncClient) -> None:
    offer = await offered(agent, "a.pdf", "application/pdf")
    for headers in ({"Content-Type": "text/html"}, {}):
        detail(await bare(agent, "PUT", offer["upload_url"], content=b"x", headers=headers), 403, "PERMISSION_DENIED")
    retyped = offer["upload_url"].replace("application%2Fpdf", "text%2Fhtml")
    assert retyped != offer["upload_url"]
    detail(await bare(agent, "PUT", retyped, content=b"x", headers={"Content-Type": "text/html"}), 403, "PERMISSION_DENIED")
    reply = await bare(agent, "PUT", offer["upload_url"], content=b"x", headers={"Content-Type": "application/pdf"})
    assert reply.status_code == 200


@pytest.mark.promise("abuse.77")
async def test_77_too_large(storing: Platform, agent: httpx.AsyncClient) -> None:
    large = b"x" * (2 * 2**20 + 1)

    async def chunks() -> AsyncGenerator[bytes]:
        for _ in range(33):
            yield large[: 2**16]

    offer = await offered(agent, "large.bin")
    detail(await bare(agent, "PUT", offer["upload_url"], content=large), 413, "PAYLOAD_TOO_LARGE")
    detail(await bare(agent, "PUT", offer["upload_url"], content=chunks()), 413, "PAYLOAD_TOO_LARGE")
    detail(await agent.post("/internal/files/upload", files={"file": ("large.bin", large)}), 413, "PAYLOAD_TOO_LARGE")
    detail(await temp(agent, content=large), 413, "PAYLOAD_TOO_LARGE")
    assert await listed(agent) == await listed(agent, "list_temp") == []
    detail(await agent.get("/internal/files/download", params={"s3_url": offer["s3_url"]}), 404, "NOT_FOUND")
    kept = [path for path in (storing.data_dir / "blobs").rglob("*") if path.is_file() and path.stat().st_size > 2**20]
    assert kept == []


@pytest.mark.promise("abuse.78")
@pytest.mark.parametrize("expires_in", ["0", "-5", str(10**9), "604801", "x"])
async def test_78_expiries(agent: httpx.AsyncClient, expires_in: str) -> None:
    s3_url, _ = await put(agent)
    reply = await agent.get("/internal/files/download", params={"s3_url": s3_url, "expires_in": expires_in})
    detail(reply, 422, "VALIDATION_ERROR")


@pytest.mark.promise("abuse.79")
async def test_79_pages(storing: Platform, agent: httpx.AsyncClient) -> None:
    for limit in ("0", "-1", str(10**9), "x"):
        detail(await agent.get("/internal/files/list", params={"limit": limit}), 422, "VALIDATION_ERROR")
    for number in range(3):
        assert (await temp(agent, session_id="s79", name=f"{number}.txt")).status_code == 200
    first = (await agent.get("/internal/files/list_temp", params={"limit": 2, "session_id": "s79"})).json()
    assert len(first["files"]) == 2
    token = first["next_token"]
    rest = await agent.get("/internal/files/list_temp", params={"limit": 2, "session_id": "s79", "continuation_token": token})
    assert len(rest.json()["files"]) == 1
    async with as_agent(storing, "stranger-79") as stranger:
        for client, params in (
            (stranger, {"session_id": "s79", "continuation_token": token}),
            (agent, {"continuation_token": token}),
            (agent, {"session_id": "s79", "continuation_token": token[:-4] + "AAAA"}),
            (agent, {"session_id": "s79", "continuation_token": "forged"}),
            (agent, {"session_id": "s79", "continuation_token": ""}),
            (agent, {"session_id": "s79", "continuation_token": "é" * 50}),
        ):
            detail(await client.get("/internal/files/list_temp", params=params), 422, "VALIDATION_ERROR")


@pytest.mark.promise("abuse.80")
async def test_80_one_session_is_cleaned_up(agent: httpx.AsyncClient) -> None:
    for session in ("abc", "abcd"):
        assert (await temp(agent, session_id=session)).status_code == 200
    for session in ("", "*", "a/../b", "abc*", "abc/", "%"):
        detail(await agent.delete("/internal/files/cleanup_temp", params={"session_id": session}), 422, "VALIDATION_ERROR")
    detail(await agent.delete("/internal/files/cleanup_temp"), 422, "VALIDATION_ERROR")
    assert (await agent.delete("/internal/files/cleanup_temp", params={"session_id": "abc"})).json() == {"deleted_count": 1}
    assert len(await listed(agent, "list_temp", session_id="abcd")) == 1
    assert await listed(agent, "list_temp", session_id="abc") == []


@pytest.mark.promise("abuse.81")
async def test_81_after_the_ttl(agent: httpx.AsyncClient, storing: Platform) -> None:
    kept = (await temp(agent, ttl="600", session_id="s81", content=b"kept-81")).json()["s3_url"]
    over = (await temp(agent, ttl="1", session_id="s81", content=b"over-81")).json()["s3_url"]
    url = await link(agent, over)

    async def hidden() -> bool:
        return (await agent.get("/internal/files/download", params={"s3_url": over})).status_code == 404

    await until(hidden, 5)
    detail(await bare(agent, "GET", url), 404, "NOT_FOUND")
    assert await listed(agent, "list_temp", session_id="s81") == [kept]

    async def swept() -> bool:
        found = [path.read_bytes() for path in (storing.data_dir / "blobs").rglob("*") if path.is_file()]
        return b"over-81" not in found and b"kept-81" in found

    await until(swept, 45)


@pytest.mark.promise("abuse.82")
@pytest.mark.parametrize("media", ["text/html", "image/svg+xml", "application/xhtml+xml"])
async def test_82_pages_are_not_shown(agent: httpx.AsyncClient, media: str) -> None:
    s3_url, _ = await put(agent, b"<script>alert(1)</script>", name='"x".html', media=media)
    reply = await bare(agent, "GET", await link(agent, s3_url))
    assert reply.status_code == 200
    assert reply.headers["content-disposition"].startswith("attachment")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in reply.headers["content-security-policy"]


@pytest.mark.promise("abuse.83")
async def test_83_parts_of_files(agent: httpx.AsyncClient) -> None:
    s3_url, _ = await put(agent, b"0123456789")
    url = await link(agent, s3_url)
    head = await bare(agent, "HEAD", url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
    for wanted, content in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89"), ("bytes=5-100", b"56789")):
        part = await bare(agent, "GET", url, headers={"Range": wanted})
        assert (part.status_code, part.content) == (206, content)
        assert part.headers["content-range"].endswith("/10")
    assert (await bare(agent, "GET", url, headers={"Range": "bytes=20-30"})).status_code == 416
    for odd in ("bytes=4-2", "bytes=", "bytes=-", "lines=1-2", "bytes=0-1,3-4", "x"):
        assert (await bare(agent, "GET", url, headers={"Range": odd})).status_code == 200
    again = await bare(agent, "GET", url, headers={"If-None-Match": head.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.promise("abuse.83")
async def test_83_uploads_that_do_not_end(agent: httpx.AsyncClient, storing: Platform) -> None:
    offer = await offered(agent, "half.txt")
    path = offer["upload_url"].removeprefix(storing.api_url)
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode()
    assert statuses(await raw(storing, head + b"only half of it", seconds=0.5)) == []
    detail(await agent.get("/internal/files/download", params={"s3_url": offer["s3_url"]}), 404, "NOT_FOUND")
    assert offer["s3_url"] not in json.dumps(await listed(agent))

    async def again() -> bool:
        return (await bare(agent, "PUT", offer["upload_url"], content=b"whole")).status_code in {200, 409}

    await until(again, 10)
    for lengths in (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: -1\r\n", b"Content-Length: x\r\n"):
        answer = await raw(
            storing, f"PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode() + lengths + b"\r\nwhole!", seconds=5
        )
        assert all(400 <= status < 500 for status in statuses(answer))
