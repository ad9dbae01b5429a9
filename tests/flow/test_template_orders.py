"""What the control plane takes and refuses around templates: uploads, orders, other owners, the older flow, a killed server."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.packages import pack_bomb, pack_members
from support.platform import Platform, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

HASH = "a" * 64


@pytest.fixture(scope="module")
async def stranger(platform: Platform) -> AsyncGenerator[httpx.AsyncClient]:
    """Another owner's client."""
    code, out, err = await run("key", "create", "other", "--owner", "stranger", "--data-dir", str(platform.data_dir))
    assert code == 0, err
    async with httpx.AsyncClient(base_url=platform.api_url, headers={"X-API-Key": out.strip()}, trust_env=False, timeout=30) as client:

        async def is_known() -> bool:
            return (await client.get("/templates")).status_code == 200

        await until(is_known)
        yield client


async def announce(client: httpx.AsyncClient, name: str, **fields: Any) -> dict[str, Any]:
    reply = await client.post("/v3/templates", json={"name": name, **fields})
    assert reply.status_code == 202, reply.text
    return reply.json()


async def upload(client: httpx.AsyncClient, template: str, data: bytes, *, files_hash: str = HASH) -> httpx.Response:
    """Ask for an address and PUT there, with no key."""
    invited = await client.get(f"/templates/{template}/files/{files_hash}")
    assert invited.status_code == 201, invited.text
    async with httpx.AsyncClient(trust_env=False, timeout=30) as keyless:
        return await keyless.put(invited.json()["url"], content=data)


async def is_present(client: httpx.AsyncClient, template: str) -> bool:
    return (await client.get(f"/templates/{template}/files/{HASH}")).json()["present"]


@pytest.mark.promise("template.uploads")
async def test_an_upload_needs_its_address_and_is_kept_once(platform: Platform) -> None:
    made = await announce(platform.api, "uploads")
    template = made["templateID"]
    assert not await is_present(platform.api, template)
    assert (await upload(platform.api, template, pack_members({"a": b"1"}))).status_code == 200
    assert await is_present(platform.api, template)
    url = (await platform.api.get(f"/templates/{template}/files/{HASH}")).json()["url"]
    later = url.replace("expires=", "expires=9")
    other = url.replace(HASH, "b" * 64)
    for forged in (url[:-4] + "0000", later, other, url.partition("?")[0]):
        async with httpx.AsyncClient(trust_env=False) as keyless:
            refused = await keyless.put(forged, content=pack_members({"a": b"2"}))
        assert (refused.status_code, refused.json()["error_code"]) == (403, "forbidden")
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    assert (await upload(platform.api, template, plain.getvalue(), files_hash="c" * 64)).status_code == 200


@pytest.mark.promise("template.uploads")
async def test_an_upload_passes_in_constant_memory(tmp_path: Path) -> None:
    data = pack_members({"noise": os.urandom(120 * 2**20)})
    async with Platform(tmp_path / "data") as server:
        made = await announce(server.api, "large")
        assert (await upload(server.api, made["templateID"], pack_members({"a": b"1"}), files_hash="b" * 64)).status_code == 200
        before = server.peak_memory()
        assert (await upload(server.api, made["templateID"], data)).status_code == 200
        assert server.peak_memory() - before < 40 * 2**20
        assert (await upload(server.api, made["templateID"], data * 3, files_hash="c" * 64)).status_code == 413


def _link(target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@pytest.mark.promise("template.uploads")
@pytest.mark.parametrize(
    "data",
    [
        pack_members({"../out": b"x"}),
        pack_members({"/etc/out": b"x"}),
        pack_members({"link": _link("/etc"), "link/out": b"x"}),
        pack_members({"link": _link("../../out")}),
        pack_members({"a": b"x"})[:40],
        b"no archive at all",
        pack_bomb(1_200_000_000),
    ],
    ids=["climbs", "absolute", "through-a-link", "link-out", "torn", "garbage", "bomb"],
)
async def test_a_hostile_upload_is_refused_and_not_kept(platform: Platform, data: bytes) -> None:
    made = await announce(platform.api, "hostile-uploads")
    refused = await upload(platform.api, made["templateID"], data)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "invalid_package"), refused.text
    assert not await is_present(platform.api, made["templateID"])
    assert list((platform.data_dir / "uploads").iterdir()) == []


@pytest.mark.promise("template.steps", "template.v3_flow")
@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"type": "COPY", "args": ["a", "/b", "", ""], "filesHash": "d" * 64}, "were not uploaded"),
        ({"type": "COPY", "args": ["../a", "/b", "", ""], "filesHash": HASH}, "leads out"),
        ({"type": "COPY", "args": ["a", "/b", "x;y", ""], "filesHash": HASH}, "no owner"),
        ({"type": "COPY", "args": ["a", "/b", "", "9999"], "filesHash": HASH}, "no mode"),
        ({"type": "COPY", "args": ["a", "/b"]}, "filesHash"),
        ({"type": "RUN", "args": []}, "command"),
        ({"type": "RUN", "args": ["true", "no one"]}, "user"),
        ({"type": "ENV", "args": ["A"]}, "in turn"),
        ({"type": "ENV", "args": ["A=B", "c"]}, "variable"),
        ({"type": "ENV", "args": ["A", "\0"]}, "NUL"),
        ({"type": "WORKDIR", "args": []}, "path"),
        ({"type": "USER", "args": ["$(id)"]}, "user"),
        ({"type": "EXPOSE", "args": ["80"]}, "type"),
    ],
)
async def test_a_step_that_cannot_be_carried_out_is_refused_before_the_build(platform: Platform, step: dict[str, Any], says: str) -> None:
    made = await announce(platform.api, "refused-steps")
    reply = await platform.api.post(f"/v2/templates/{made['templateID']}/builds/{made['buildID']}", json={"steps": [step]})
    assert (reply.status_code, reply.json()["code"]) == (400, 400), reply.text
    assert says in reply.json()["message"]
    status = (await platform.api.get(f"/templates/{made['templateID']}/builds/{made['buildID']}/status")).json()
    assert status["status"] == "waiting"


@pytest.mark.promise("template.v3_flow")
async def test_names_and_tags_are_checked_and_a_build_begins_once(platform: Platform) -> None:
    made = await announce(platform.api, "default/ordered:v1", tags=["v2", "v1"], cpuCount=1, memoryMB=128)
    assert (made["names"], made["tags"], made["public"]) == (["ordered"], ["v1", "v2"], False)
    for name, status in (("Upper Case", 400), ("x:y:z!", 400), ("-", 400), ("stranger/x", 403), ("x" * 80, 400)):
        assert (await platform.api.post("/v3/templates", json={"name": name})).status_code == status, name
    where = f"/v2/templates/ordered/builds/{made['buildID']}"
    both = await platform.api.post(where, json={"fromImage": "debian", "fromTemplate": "base"})
    agent = await platform.api.post(where, json={"fromTemplate": "echo"})
    missing = await platform.api.post(where, json={"fromTemplate": "nowhere"})
    assert (both.status_code, agent.status_code, missing.status_code) == (400, 400, 404)
    assert (await platform.api.post(where, json={})).status_code == 202
    again = await platform.api.post(where, json={})
    assert (again.status_code, again.json()["error_code"]) == (409, "conflict")


@pytest.mark.promise("template.foreign")
async def test_other_owners_templates_do_not_exist_unless_they_are_public(platform: Platform, stranger: httpx.AsyncClient) -> None:
    made = await announce(platform.api, "private")
    template, build = made["templateID"], made["buildID"]
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", f"/templates/{template}", None),
        ("GET", "/templates/default%2Fprivate", None),
        ("GET", "/templates/aliases/default%2Fprivate", None),
        ("GET", f"/templates/{template}/tags", None),
        ("GET", f"/templates/{template}/files/{HASH}", None),
        ("GET", f"/templates/{template}/builds/{build}/status", None),
        ("POST", f"/v2/templates/{template}/builds/{build}", {}),
        ("PATCH", f"/templates/{template}", {"public": True}),
        ("DELETE", f"/templates/{template}", None),
        ("POST", "/templates/tags", {"target": "default/private", "tags": ["x"]}),
        ("POST", "/v2/sandboxes", {"templateID": template}),
    ]
    for method, path, body in calls:
        reply = await stranger.request(method, path, json=body)
        assert (reply.status_code, reply.json()["code"]) == (404, 404), (method, path, reply.text)
    published = await platform.api.patch("/v2/templates/private", json={"public": True})
    assert published.json() == {"names": ["default/private"]}
    found = await stranger.get("/templates/aliases/default%2Fprivate")
    assert found.json() == {"templateID": template, "public": True}
    for method, path, body in calls[3:-1]:
        assert (await stranger.request(method, path, json=body)).status_code == 404, (method, path)
    assert (await stranger.get("/templates")).json() == []


@pytest.mark.promise("template.v1_refused")
@pytest.mark.parametrize("path", ["/templates", "/v2/templates", "/templates/t1", "/templates/t1/builds/b1"])
async def test_the_older_flow_is_refused_with_the_reason(platform: Platform, path: str) -> None:
    reply = await platform.api.post(path, json={"dockerfile": "FROM debian"})
    assert (reply.status_code, reply.json()["code"]) == (501, 501)
    assert "POST /v3/templates" in reply.json()["message"]


@pytest.mark.promise("template.killed_server")
@pytest.mark.slow
async def test_a_build_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as server:
        made = await announce(server.api, "survivor")
        assert (await upload(server.api, "survivor", pack_members({"a.txt": b"kept\n"}))).status_code == 200
        steps = [
            {"type": "COPY", "args": ["a.txt", "/home/user/", "", ""], "filesHash": HASH},
            {"type": "RUN", "args": ["echo slow; sleep 3"]},
        ]
        where = f"/templates/{made['templateID']}/builds/{made['buildID']}"
        assert (await server.api.post(f"/v2{where}", json={"steps": steps})).status_code == 202

        async def is_slow() -> bool:
            return "slow" in (await server.api.get(f"{where}/status")).json()["logs"]

        await until(is_slow)
        await server.restart()
        status = await server.follow(made["templateID"], made["buildID"])
        assert status["status"] == "ready", status
        sandbox = await server.create("survivor")
        got = await server.call(sandbox, "/files", port=49983, params={"path": "a.txt"})
        assert got.text == "kept\n"
        assert not [path for path in (server.data_dir / "builds" / made["buildID"]).iterdir() if path.name != "system"]


@pytest.mark.promise("template.uploads")
async def test_a_restart_forgets_the_uploads_that_nothing_copies(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data") as server:
        made = await announce(server.api, "tidy")
        for files_hash in (HASH, "b" * 64):
            assert (await upload(server.api, "tidy", pack_members({"a": b"1"}), files_hash=files_hash)).status_code == 200
        await server.restart()
        assert len(list((server.data_dir / "blobs" / "files" / made["templateID"]).iterdir())) == 2, "it may still be ordered"
        where = f"/templates/{made['templateID']}/builds/{made['buildID']}"
        step = {"type": "COPY", "args": ["a", "/b", "", ""], "filesHash": HASH}
        assert (await server.api.post(f"/v2{where}", json={"steps": [step]})).status_code == 202
        assert (await server.follow(made["templateID"], made["buildID"]))["status"] == "error", "the memory back end has no files"
        await server.restart()
        assert [path.name for path in (server.data_dir / "blobs" / "files" / made["templateID"]).iterdir()] == [HASH]
        assert (await server.api.delete("/templates/tidy")).status_code == 204
        assert list((server.data_dir / "blobs" / "files").rglob("*/*")) == []


@pytest.mark.promise("template.failed_step")
@pytest.mark.slow
async def test_a_build_that_takes_too_long_is_ended_where_it_was(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", "--build-timeout", "3", backend="process") as server:
        made = await announce(server.api, "endless")
        where = f"/templates/{made['templateID']}/builds/{made['buildID']}"
        steps = [{"type": "RUN", "args": ["true"]}, {"type": "RUN", "args": ["sleep 600"]}]
        assert (await server.api.post(f"/v2{where}", json={"steps": steps, "fromTemplate": "base:latest"})).status_code == 202
        status = await server.follow(made["templateID"], made["buildID"])
        assert status["reason"]["message"] == "The build did not end within 3 seconds; it was at step 2 of 2 (RUN sleep 600)"
        assert not (server.data_dir / "builds" / made["buildID"]).exists()
        assert not list((server.data_dir / "sandboxes").iterdir())
