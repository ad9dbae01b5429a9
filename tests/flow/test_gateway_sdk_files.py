"""Files on their way to and from a scripted gateway: forms, signed addresses, lengths, progress, and what is left when it fails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gateway_sdk import GatewayError, ServiceUnavailableError, StoredFileNotFoundError
from support.fake_platform import Asked, FakePlatform, Line, answers, raw
from support.gateways import LINK, Kind, face, names_in, refuses, sends

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
KINDS: tuple[Kind, ...] = ("sync", "async")
CONTENT = bytes(range(256)) * 4096 + b"end"
STORED = {"success": True, "s3_url": "s3://b/agent-outputs/u/a/k", "filename": "x", "size": 3}
NAMES = ["report.pdf", '报告 "x".txt', "a'b;c.txt", "new\nline\r.txt"]


def parts(asked: Asked) -> dict[str, tuple[str | None, bytes]]:
    """Return the parts of a form by name: the file's name as it was sent, the content."""
    kind, _, boundary = asked.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    found: dict[str, tuple[str | None, bytes]] = {}
    for piece in asked.body.split(b"--" + boundary.encode())[1:-1]:
        described, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        match = re.match(r'Content-Disposition: form-data; name="([^"]*)"(?:; filename="([^"]*)")?\r?', described.decode())
        assert match is not None
        found[match[1]] = (match[2], content.removesuffix(b"\r\n"))
    return found


@pytest.mark.promise("gateway-sdk.uploads")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
async def test_a_file_is_sent_as_a_form_with_its_own_name_and_length(kind: Kind, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(CONTENT)
    async with FakePlatform() as platform, face(kind, platform.url, internal_token="t") as client:
        platform.on("POST /internal/files/upload", answers(STORED))
        assert await client.call("upload_file", file) == STORED
        [asked] = platform.seen
        assert int(asked.headers["content-length"]) == len(asked.body)
        assert "transfer-encoding" not in asked.headers
        assert asked.headers["x-internal-token"] == "t"
        escaped = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        assert parts(asked) == {"file": (escaped, CONTENT)}


@pytest.mark.promise("gateway-sdk.uploads")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_temporary_file_has_its_time_and_its_session(kind: Kind, tmp_path: Path) -> None:
    file = tmp_path / "frame.jpg"
    file.write_bytes(b"")
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on("POST /internal/files/upload_temp", answers(STORED))
        await client.call("upload_temp_file", str(file))
        await client.call("upload_temp_file", str(file), ttl=3600, session_id="s-1")
        first, second = platform.seen
        assert parts(first) == {"ttl": (None, b"86400"), "file": ("frame.jpg", b"")}
        assert parts(second) == {"ttl": (None, b"3600"), "session_id": (None, b"s-1"), "file": ("frame.jpg", b"")}


@pytest.mark.promise("gateway-sdk.uploads")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("media", [None, "video/mp4"])
async def test_an_input_file_is_put_to_a_signed_address_with_the_type_that_was_signed(
    kind: Kind, media: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(CONTENT)
    told: list[tuple[int, int | None]] = []

    def note(sent: int, total: int | None) -> None:
        told.append((sent, total))

    async with FakePlatform() as platform, face(kind, platform.url, internal_token="t") as client:
        link = {"upload_url": f"{platform.url}/put/x%20y?sig=1&b=%2F", "s3_url": "s3://b/agent-inputs/u/clip.mp4", "expires_in": 60}
        platform.on("POST /internal/files/generate_upload_url", answers(link))
        platform.on("PUT /put/x%20y", answers())
        url = await client.call("upload_input_file", file, media, progress=note)
        assert url == "s3://b/agent-inputs/u/clip.mp4"
        wanted, put = platform.seen
        assert wanted.json == {"filename": "clip.mp4", "content_type": media}
        assert wanted.headers["x-upload-content-length"] == str(len(CONTENT))
        assert put.body == CONTENT
        assert put.headers.get("content-type") == media
        assert put.headers["content-length"] == str(len(CONTENT))
        assert "x-internal-token" not in put.headers
        assert put.query == {"sig": ["1"], "b": ["/"]}
        assert told[-1] == (len(CONTENT), len(CONTENT))
        assert [sent for sent, _ in told] == sorted({sent for sent, _ in told})


@pytest.mark.promise("gateway-sdk.uploads")
@pytest.mark.parametrize("kind", KINDS)
async def test_what_must_go_with_an_input_file_goes_with_it_and_what_a_bucket_refuses_is_told(kind: Kind, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(CONTENT)
    said = "<?xml version='1.0'?><Error><Code>PreconditionFailed</Code><Message>no</Message><StringToSign>sig=1</StringToSign></Error>"
    async with FakePlatform() as platform, face(kind, platform.url, internal_token="t") as client:
        link = {"upload_url": f"{platform.url}/b/k?sig=1", "s3_url": "s3://b/k", "expires_in": 60, "headers": {"If-None-Match": "*"}}
        platform.on("POST /internal/files/generate_upload_url", answers(link))
        platform.on("PUT /b/k", raw(said.encode(), 412, "application/xml"))
        with pytest.raises(GatewayError, match="PreconditionFailed: no") as raised:
            await client.call("upload_input_file", file)
        assert platform.seen[1].headers["if-none-match"] == "*"
        assert raised.value.status_code == 412
        assert "sig=1" not in f"{raised.value!r} {raised.value} {raised.value.details}"


@pytest.mark.promise("gateway-sdk.uploads")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_that_is_none_or_changes_is_said_so(kind: Kind, tmp_path: Path) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on("POST /internal/files/upload", answers(STORED))
        with pytest.raises(FileNotFoundError):
            await client.call("upload_file", tmp_path / "no-such-file")
        with pytest.raises(OSError, match="no plain file"):
            await client.call("upload_file", tmp_path)
        assert platform.seen == []
        shrinking = tmp_path / "shrinking"
        shrinking.write_bytes(CONTENT)

        def cut(sent: int, total: int | None) -> None:
            shrinking.write_bytes(b"")

        with pytest.raises(GatewayError):
            await client.call("upload_file", shrinking, progress=cut)


@pytest.mark.promise("gateway-sdk.downloads")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_download_appears_when_it_is_whole(kind: Kind, tmp_path: Path) -> None:
    target = tmp_path / "result.pdf"
    target.write_bytes(b"old")
    seen: list[tuple[list[str], bytes]] = []
    told: list[tuple[int, int | None]] = []

    def progress(came: int, total: int | None) -> None:
        told.append((came, total))
        seen.append((names_in(tmp_path), target.read_bytes()))

    async with FakePlatform() as platform, face(kind, platform.url, internal_token="t") as client:
        platform.on(LINK, answers({"presigned_url": f"{platform.url}/get?sig=1", "expires_in": 60}))
        platform.on("GET /get", sends(CONTENT))
        assert await client.call("download_file", "s3://b/k", target, progress=progress) is None
        assert "x-internal-token" not in platform.seen[-1].headers
        assert platform.seen[0].query == {"s3_url": ["s3://b/k"], "mode": ["presigned"], "expires_in": ["3600"]}
    assert target.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    names, content = seen[0]
    assert content == b"old"
    assert len(names) == 2
    assert any(name.endswith(".part") for name in names)
    assert names_in(tmp_path) == ["result.pdf"]


@pytest.mark.promise("gateway-sdk.downloads")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_download_that_fails_leaves_what_was_there(kind: Kind, tmp_path: Path) -> None:
    target = tmp_path / "result.pdf"
    target.write_bytes(b"old")

    def fails(came: int, total: int | None) -> None:
        raise OSError("the disk is full")

    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on(LINK, answers({"presigned_url": f"{platform.url}/get", "expires_in": 60}))
        platform.on("GET /get", sends(CONTENT, announced=len(CONTENT) + 1))
        with pytest.raises(ServiceUnavailableError):
            await client.call("download_file", "s3://b/k", target)
        platform.on("GET /get", refuses(404, "NOT_FOUND"))
        with pytest.raises(StoredFileNotFoundError) as caught:
            await client.call("download_file", "s3://b/k", target)
        assert caught.value.s3_url == "s3://b/k"
        platform.on("GET /get", sends(CONTENT))
        with pytest.raises(OSError, match="the disk is full"):
            await client.call("download_file", "s3://b/k", target, progress=fails)
        with pytest.raises(IsADirectoryError):
            await client.call("download_file", "s3://b/k", tmp_path)
        with pytest.raises(FileNotFoundError):
            await client.call("download_file", "s3://b/k", tmp_path / "no" / "such")
        with pytest.raises(ValueError, match="s3://"):
            await client.call("download_file", "/etc/passwd", target)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["result.pdf"]


@pytest.mark.promise("gateway-sdk.downloads")
@pytest.mark.parametrize("kind", KINDS)
async def test_lists_have_no_next_token_on_their_last_page(kind: Kind) -> None:
    async with FakePlatform() as platform, face(kind, platform.url) as client:
        platform.on("GET /internal/files/list", answers({"files": [], "next_token": "n"}), answers({"files": [], "next_token": None}))
        platform.on("GET /internal/files/list_temp", answers({"files": []}))
        platform.on("DELETE /internal/files/cleanup_temp", answers({"deleted_count": 3}))
        assert await client.call("list_files", limit=5) == {"files": [], "next_token": "n"}
        assert await client.call("list_files", 5, continuation_token="n") == {"files": []}
        assert await client.call("list_temp_files", session_id="a/b &c") == {"files": []}
        assert await client.call("cleanup_temp_files", session_id="a/b &c") == 3
        queries = [asked.query for asked in platform.seen]
        assert queries[0] == {"limit": ["5"]}
        assert queries[1] == {"limit": ["5"], "continuation_token": ["n"]}
        assert queries[2]["session_id"] == queries[3]["session_id"] == ["a/b &c"]


@pytest.mark.promise("gateway-sdk.proxies")
@pytest.mark.parametrize("kind", KINDS)
async def test_the_way_out_of_a_sandbox_is_taken_and_this_machine_is_reached_directly(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def forwards(what: Asked, line: Line) -> None:
        asked.append(what.headers["host"])
        await line.whole(200, b"[]", {"content-type": "application/json"})

    async with FakePlatform() as proxy, FakePlatform() as direct:
        proxy.on("GET /v1/prefabs", forwards)
        direct.on("GET /v1/prefabs", answers([]))
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
        async with face(kind, "http://gateway.internal") as client:
            assert await client.call("list_prefabs") == []
        async with face(kind, direct.url) as client:
            assert await client.call("list_prefabs") == []
    assert asked == ["gateway.internal"]
    assert len(direct.seen) == 1
