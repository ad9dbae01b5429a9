"""Volumes through the public doors: their life, what lies in them, and what leads nowhere."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sandyard.backends.process import uids
from sandyard.domain import volumes as domain
from support.loops import needs_loops
from support.platform import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.platform import Platform

pytestmark = pytest.mark.anyio

MEBIBYTE = 1 << 20


class Inside:
    """What lies in one new volume, with its token."""

    def __init__(self, platform: Platform, volume: dict[str, Any]) -> None:
        self.id = volume["volumeID"]
        self.name = volume["name"]
        self.home = platform.data_dir / "volumes" / self.id
        self._base = f"{platform.api_url}/volumecontent/{self.id}"
        self.headers = {"Authorization": f"Bearer {volume['token']}"}

    async def ask(self, method: str, what: str, path: str, **options: Any) -> httpx.Response:
        params = {"path": path} | options.pop("params", {})
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            return await client.request(method, f"{self._base}/{what}", params=params, headers=self.headers, **options)


async def a_volume(platform: Platform, **quotas: float) -> Inside:
    reply = await platform.api.post("/volumes", json={"name": f"data-{secrets.token_hex(4)}", **quotas})
    assert reply.status_code == 201, reply.text
    return Inside(platform, reply.json())


async def another_owner(platform: Platform) -> dict[str, str]:
    code, key, _ = await run("key", "create", "--data-dir", str(platform.data_dir), "--owner", "stranger")
    assert code == 0
    return {"X-API-Key": key.strip()}


def test_the_ids_on_disk_are_the_back_ends() -> None:
    assert (domain.STORED_IDS, domain.IDS) == (uids.STORED, uids.RANGE)


@pytest.mark.promise("volumes.life", "volumes.refused")
async def test_volumes_are_their_owners(platform: Platform) -> None:
    volume = await a_volume(platform)
    stranger = await another_owner(platform)
    at = f"/volumes/{volume.id}"
    assert (await platform.api.post("/volumes", json={"name": volume.name})).status_code == 409
    assert (await platform.api.post("/volumes", json={"name": volume.name}, headers=stranger)).status_code == 201
    for method, body in (("GET", None), ("PATCH", {"name": "mine"}), ("DELETE", None)):
        assert (await platform.api.request(method, at, json=body, headers=stranger)).status_code == 404
    assert volume.id not in {each["volumeID"] for each in (await platform.api.get("/volumes", headers=stranger)).json()}
    assert (await platform.api.patch(at, json={"name": f"{volume.name}.new"})).json()["name"] == f"{volume.name}.new"
    for name in ("", "../up", "a/b", "x" * 200):
        assert (await platform.api.post("/volumes", json={"name": name})).status_code == 400
    for quota in ({"quotaSizeGiB": 1}, {"quotaInodes": 10}):
        refused = await platform.api.patch(at, json=quota)
        assert (refused.status_code, "reserved when it is made" in refused.text) == (501, True)
    assert [(await platform.api.delete(at)).status_code for _ in range(2)] == [204, 404]
    assert not volume.home.exists()


@pytest.mark.promise("volumes.content")
async def test_only_a_volumes_own_token_opens_it(platform: Platform) -> None:
    volume, other = await a_volume(platform), await a_volume(platform)
    async with httpx.AsyncClient(base_url=platform.api_url, trust_env=False) as client:
        for token in ("none", platform.key, "0" * 64):
            headers = {"Authorization": f"Bearer {token}"}
            assert (await client.get(f"/volumecontent/{volume.id}/dir?path=/", headers=headers)).status_code == 401
    volume.headers = other.headers
    assert (await volume.ask("GET", "dir", "/")).status_code == 401
    assert (await platform.api.delete(f"/volumes/{other.id}")).status_code == 204
    assert (await other.ask("GET", "dir", "/")).status_code == 404


@pytest.mark.promise("volumes.content", "volumes.owners")
async def test_files_are_written_whole_looked_at_changed_and_removed(platform: Platform) -> None:
    volume = await a_volume(platform)
    assert (await volume.ask("PUT", "file", "/no/way", content=b"x")).status_code == 404
    made = await volume.ask("PUT", "file", "/a/b/c", content=b"one", params={"force": "true", "mode": 0o640})
    assert (made.status_code, made.json()["mode"], made.json()["uid"]) == (201, 0o640, 1000)
    assert (await volume.ask("PUT", "file", "/a/b/c", content=b"no", params={"force": "false"})).status_code == 409
    assert (await volume.ask("PUT", "file", "a//b/./c", content=b"two")).json()["path"] == "/a/b/c"
    assert (await volume.ask("PUT", "file", "/a/b", content=b"x")).status_code == 409
    assert (await volume.ask("GET", "file", "/a/b/c")).content == b"two"
    assert (await volume.ask("GET", "file", "/a/b")).status_code == 400
    assert [each["path"] for each in (await volume.ask("GET", "dir", "/", params={"depth": 2})).json()] == ["/a", "/a/b"]
    assert (await volume.ask("GET", "dir", "/a/b/c")).status_code == 400
    assert (await volume.ask("POST", "dir", "/a")).status_code == 409
    assert (await volume.ask("POST", "dir", "/a", params={"force": "true"})).status_code == 201
    assert (await volume.ask("PATCH", "path", "/a/b/c", json={"mode": 0o600})).json()["mode"] == 0o600
    assert (await volume.ask("PATCH", "path", "/a/b/c", json={"mode": 0o4755})).status_code == 400
    assert (await volume.ask("GET", "path", "/")).json()["type"] == "directory"
    assert (await volume.ask("DELETE", "path", "/")).status_code == 400
    assert [(await volume.ask("DELETE", "path", "/a")).status_code for _ in range(2)] == [204, 404]
    assert not list((platform.data_dir / "volumes" / ".drafts").iterdir())


@pytest.mark.promise("volumes.owners")
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="about a server started by root")
async def test_owners_on_disk_are_nobody_of_the_hosts(platform: Platform) -> None:
    volume = await a_volume(platform)
    await volume.ask("PUT", "file", "/d/mine", content=b"", params={"force": "true"})
    assert (await volume.ask("PUT", "file", "/roots", content=b"", params={"uid": 0, "gid": 5})).json()["uid"] == 0
    assert (await volume.ask("PATCH", "path", "/d/mine", json={"gid": 7})).json()["gid"] == 7
    on_disk = [(path.stat().st_uid - uids.STORED, path.stat().st_gid - uids.STORED) for path in sorted(volume.home.rglob("*"))]
    assert on_disk == [(1000, 1000), (1000, 7), (0, 5)]
    assert (await volume.ask("PATCH", "path", "/", json={"uid": 0})).status_code == 400
    assert (await volume.ask("PUT", "file", "/x", content=b"", params={"uid": 65536})).status_code == 400


@pytest.mark.promise("volumes.inside")
async def test_no_path_and_no_link_leads_out(platform: Platform) -> None:
    volume = await a_volume(platform)
    secret = platform.data_dir / "secrets" / "api_key"
    (volume.home / "file").symlink_to(secret)
    (volume.home / "up").symlink_to("../..")
    (volume.home / "dir").symlink_to(secret.parent)
    os.mkfifo(volume.home / "pipe")
    for path in ("/../../secrets/api_key", "..", "/x/../../y", "/up/secrets/api_key", "/dir/api_key", "/file", "/pipe", "/a\0b"):
        assert (await volume.ask("GET", "file", path)).status_code == 400, path
    for path in ("/dir/new", "/up/new", "/../new"):
        assert (await volume.ask("PUT", "file", path, content=b"x", params={"force": "true"})).status_code == 400
        assert (await volume.ask("POST", "dir", path, params={"force": "true"})).status_code == 400
        assert (await volume.ask("DELETE", "path", path)).status_code == 400
    before = secret.stat()
    for path in ("/file", "/dir"):
        assert (await volume.ask("PATCH", "path", path, json={"mode": 0o777, "uid": 0})).status_code == 400
        assert (await volume.ask("GET", "dir", path)).status_code == 400
    looked = (await volume.ask("GET", "path", "/file")).json()
    assert (looked["type"], looked["target"]) == ("symlink", str(secret))
    assert [each["path"] for each in (await volume.ask("GET", "dir", "/", params={"depth": 9})).json()] == ["/dir", "/file", "/pipe", "/up"]
    assert (await volume.ask("PUT", "file", "/file", content=b"mine")).status_code == 201
    assert (await volume.ask("DELETE", "path", "/dir")).status_code == 204
    assert (secret.read_text(), secret.stat().st_mode, secret.stat().st_uid) == (platform.key, before.st_mode, before.st_uid)
    assert secret.parent.is_dir()


@pytest.mark.promise("volumes.memory")
@pytest.mark.slow
async def test_files_go_up_and_down_in_constant_memory(platform: Platform) -> None:
    volume = await a_volume(platform)
    size = 400 * MEBIBYTE

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // MEBIBYTE):
            yield bytes(MEBIBYTE)

    before = platform.peak_memory()
    assert (await volume.ask("PUT", "file", "/large", content=body())).json()["size"] == size
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
        client.stream("GET", f"{platform.api_url}/volumecontent/{volume.id}/file?path=large", headers=volume.headers) as reply,
    ):
        assert sum([len(chunk) async for chunk in reply.aiter_bytes()]) == size
    assert platform.peak_memory() - before < 48 * MEBIBYTE


@pytest.mark.promise("volumes.used", "volumes.owners", "volumes.refused")
@pytest.mark.slow
async def test_sandboxes_share_a_volume_that_outlives_them(process_platform: Platform) -> None:
    volume = await a_volume(process_platform)
    await volume.ask("PUT", "file", "/hosts", content=b"host\n")
    mount = {"volumeMounts": [{"name": volume.name, "path": "/mnt/data"}]}
    boxes = [await process_platform.create("base", **mount) for _ in range(2)]
    for number, box in enumerate(boxes):
        put = await process_platform.call(
            box, "/files", method="POST", port=49983, params={"path": f"/mnt/data/{number}"}, files={"file": b"box\n"}
        )
        assert put.status_code == 200, put.text
        for path in ("hosts", "0"):
            got = await process_platform.call(box, "/files", port=49983, params={"path": f"/mnt/data/{path}"})
            assert got.text == {"hosts": "host\n", "0": "box\n"}[path]
    detail = (await process_platform.api.get(f"/sandboxes/{boxes[0]['sandboxID']}")).json()
    assert detail["volumeMounts"] == [{"name": volume.name, "path": "/mnt/data"}]
    busy = await process_platform.api.delete(f"/volumes/{volume.id}")
    assert (busy.status_code, set(busy.json()["details"]["sandboxes"])) == (409, {box["sandboxID"] for box in boxes})
    await process_platform.api.delete(f"/sandboxes/{boxes[0]['sandboxID']}")
    assert (await process_platform.api.delete(f"/volumes/{volume.id}")).status_code == 409
    await process_platform.api.delete(f"/sandboxes/{boxes[1]['sandboxID']}")
    assert {entry["path"]: entry["uid"] for entry in (await volume.ask("GET", "dir", "/")).json()} == dict.fromkeys(
        ["/0", "/1", "/hosts"], 1000
    )
    assert (await process_platform.api.delete(f"/volumes/{volume.id}")).status_code == 204


@pytest.mark.promise("volumes.quotas")
@pytest.mark.needs_root
@needs_loops
async def test_a_volume_with_a_quota_holds_that_much_and_no_more(platform: Platform) -> None:
    volume = await a_volume(platform, quotaSizeGiB=1 / 64, quotaInodes=64)
    at = f"/volumes/{volume.id}"
    shown = (await platform.api.get(at)).json()
    assert (shown["quotaSizeGiB"], shown["quotaInodes"]) == (1 / 64, 64)
    assert (await platform.api.patch(at, json={"quotaInodes": 64})).status_code == 200
    assert (await volume.ask("PUT", "file", "/d/fits", content=bytes(16 * MEBIBYTE), params={"force": "true"})).status_code == 201
    full = await volume.ask("PUT", "file", "/d/more", content=bytes(64 * MEBIBYTE))
    assert (full.status_code, full.json()["error_code"]) == (507, "storage_full")
    assert [each["path"] for each in (await volume.ask("GET", "dir", "/d")).json()] == ["/d/fits"]
    assert (await volume.ask("DELETE", "path", "/d")).status_code == 204
    assert (await volume.ask("PUT", "file", "/again", content=bytes(16 * MEBIBYTE))).status_code == 201
    assert (await volume.ask("POST", "dir", "/d" * 60, params={"force": "true"})).status_code == 201
    assert (await volume.ask("POST", "dir", "/e" * 300, params={"force": "true"})).status_code == 507
    assert (await volume.ask("GET", "file", "/../again")).status_code == 400
    assert (await platform.api.delete(at)).status_code == 204
    assert not volume.home.exists()


@pytest.mark.promise("volumes.quotas")
async def test_quotas_that_cannot_be_had_are_refused(platform: Platform) -> None:
    for quota in ({"quotaInodes": 10}, {"quotaSizeGiB": 0}, {"quotaSizeGiB": 0.001}, {"quotaSizeGiB": 1, "quotaInodes": 10**9}):
        assert (await platform.api.post("/volumes", json={"name": "quota", **quota})).status_code == 400, quota
    too_much = await platform.api.post("/volumes", json={"name": "quota", "quotaSizeGiB": 16 * 1024})
    assert (too_much.status_code, too_much.json()["error_code"]) == (507, "storage_full")
    assert not list((platform.data_dir / "volumes" / ".drafts").iterdir())


async def read(platform: Platform, box: dict[str, Any], path: str) -> httpx.Response:
    return await platform.call(box, "/files", port=49983, params={"path": path})


@pytest.mark.promise("volumes.attached", "volumes.used")
@pytest.mark.needs_root
@needs_loops
async def test_a_running_sandbox_is_given_a_volume_and_loses_it(process_platform: Platform) -> None:
    api = process_platform.api
    volume = await a_volume(process_platform, quotaSizeGiB=1 / 64)
    await volume.ask("PUT", "file", "/hosts", content=b"host")
    box = await process_platform.create("base")
    at, path = f"/sandboxes/{box['sandboxID']}/volume-mounts", "/mnt/new/data"
    stranger = await another_owner(process_platform)
    assert (await api.post(at, json={"name": volume.name, "path": path}, headers=stranger)).status_code == 404
    assert (await api.post(at, json={"name": "none", "path": path})).status_code == 404
    for wrong in ("/etc", "/proc/1", "relative", "/a/../b"):
        assert (await api.post(at, json={"name": volume.name, "path": wrong})).status_code == 400
    given = await api.post(at, json={"name": volume.id, "path": path})
    assert (given.status_code, given.json()) == (201, {"name": volume.name, "path": path})
    assert (await api.post(at, json={"name": volume.name, "path": path})).status_code == 400
    assert (await read(process_platform, box, f"{path}/hosts")).text == "host"
    assert (await api.get(f"/sandboxes/{box['sandboxID']}")).json()["volumeMounts"] == [given.json()]
    assert (await api.delete(f"/volumes/{volume.id}")).status_code == 409
    assert (await api.post(f"/sandboxes/{box['sandboxID']}/pause", json={"memory": False})).status_code == 204
    assert (await api.delete(at, params={"path": path})).status_code == 200  # of what has no processes now, its row alone changes
    assert (await api.post(at, json=given.json())).status_code == 201
    assert (await api.post(f"/v2/sandboxes/{box['sandboxID']}/connect", json={"timeout": 60})).status_code == 201
    assert (await read(process_platform, box, f"{path}/hosts")).text == "host"
    assert (await api.delete(at, params={"path": path, "force": "true"}, headers=stranger)).status_code == 404
    taken = await api.delete(at, params={"path": path, "force": "true"})
    assert (taken.status_code, taken.json()) == (200, given.json())
    assert (await read(process_platform, box, f"{path}/hosts")).status_code == 404
    assert (await api.delete(at, params={"path": path})).status_code == 404
    assert (await api.delete(f"/volumes/{volume.id}")).status_code == 204
    assert (await api.delete(f"/sandboxes/{box['sandboxID']}")).status_code == 204


@pytest.mark.promise("volumes.refused")
async def test_mounts_that_cannot_be_had_are_refused(platform: Platform) -> None:
    volume = await a_volume(platform)
    for path in ("relative", "/", "/etc", "/usr", "/proc/x", "/app", "/opt/sandyard/x", "/a/../b", "/a/", "/home/user", "/a\nb"):
        body = {"templateID": "echo", "volumeMounts": [{"name": volume.name, "path": path}]}
        assert (await platform.api.post("/sandboxes", json=body)).status_code == 400, path
    for paths in (["/a", "/a"], ["/a", "/a/b"], [f"/m{number}" for number in range(17)]):
        body = {"templateID": "echo", "volumeMounts": [{"name": volume.name, "path": path} for path in paths]}
        assert (await platform.api.post("/sandboxes", json=body)).status_code == 400
    body = {"templateID": "echo", "volumeMounts": [{"name": volume.name, "path": "/data"}]}
    assert (await platform.api.post("/sandboxes", json=body, headers=await another_owner(platform))).status_code == 404
