"""The registry over HTTP and by its command: publishing, refusing, finding, hiding."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.platform import run as command
from support.prefabs import KIT, call, function, manifest, pack, publish, refused, result, run, upload

if TYPE_CHECKING:
    from pathlib import Path

    from support.platform import Platform

pytestmark = pytest.mark.anyio

SOURCE = "def one(a: int, b: str = 'x') -> dict:\n    return {'a': a, 'b': b}\n"
ONE = function("one", {"a": "integer"})


def versioned(prefab_id: str, version: str, answer: str = "") -> bytes:
    source = f"def tell() -> dict:\n    return {{'version': {answer or version!r}}}\n"
    return pack(manifest(prefab_id, function("tell"), version=version), source)


async def key_of(gateway: Platform, owner: str) -> str:
    code, key, _ = await command("key", "create", "--data-dir", str(gateway.data_dir), "--owner", owner)
    assert code == 0
    return key.strip()


@pytest.mark.promise("gateway.publish", "gateway.listing")
async def test_a_prefab_is_published_listed_and_described(gateway: Platform) -> None:
    described = ONE | {"secrets": [{"name": "API_TOKEN", "description": "d", "instructions": "ask", "required": False}]}
    spec = await publish(gateway, pack(manifest("listed-one", described), SOURCE))
    assert spec["id"] == spec["prefab_id"] == "listed-one"
    assert spec["deployment_status"] == "DEPLOYED"
    assert spec["digest"].startswith("sha256:")
    assert spec["functions"][0]["parameters"]["properties"] == {"a": {"type": "integer", "description": "a"}}
    listed = (await gateway.api.get("/v1/prefabs")).json()
    item = next(item for item in listed if item["id"] == "listed-one")
    assert item["version"] == "1.0.0"
    assert item["functions"] == ["one"]
    assert item["requires_secrets"] is False
    assert item["secrets"] == [{"name": "API_TOKEN", "description": "d", "instructions": "ask", "required": False}]
    assert item["is_official"] is False
    assert item["deployed_at"] >= item["created_at"]
    for path in ("/v1/prefabs/listed-one/spec", "/v1/prefabs/listed-one/latest/spec", "/v1/prefabs/listed-one/1.0.0/spec"):
        assert (await gateway.api.get(path)).json()["functions"][0]["name"] == "one"
    functions = (await gateway.api.get("/v1/public/prefabs/listed-one/functions")).json()
    assert [item["name"] for item in functions] == ["one"]
    assert (await gateway.api.get("/v1/public/prefabs/listed-one/functions/one")).json() == functions[0]
    refused(await gateway.api.get("/v1/public/prefabs/listed-one/functions/two"), 404, "NOT_FOUND")
    refused(await gateway.api.get("/v1/prefabs", params={"status": "unheard-of"}), 422, "VALIDATION_ERROR")


@pytest.mark.promise("gateway.immutable")
async def test_a_version_is_published_once(gateway: Platform) -> None:
    package = versioned("immutable-one", "1.0.0")
    first = await publish(gateway, package)
    again = await upload(gateway, package)
    assert again.status_code == 200
    assert again.json()["digest"] == first["digest"]
    found = refused(await upload(gateway, versioned("immutable-one", "1.0.0", "'other'")), 409, "VERSION_EXISTS")
    assert found["version"] == "1.0.0"
    assert (await result(gateway, "immutable-one", "tell"))["output"]["output"] == {"version": "1.0.0"}


@pytest.mark.promise("gateway.static")
@pytest.mark.parametrize(
    ("source", "described", "pointer"),
    [
        ("def two(): return {}", ONE, "/functions/0/name"),
        ("def one(): return {}", ONE, "/functions/0/parameters/0/name"),
        ("def one(a, c): return {}", ONE, "/functions/0/parameters"),
        (
            "def one(a=1): return {}",
            ONE | {"parameters": [{"name": "a", "type": "integer", "default": 2}]},
            "/functions/0/parameters/0/default",
        ),
        (
            "def one(a): return {}",
            ONE | {"parameters": [{"name": "a", "type": "integer", "required": False}]},
            "/functions/0/parameters/0/required",
        ),
        ("def one(a): yield {}", ONE, "/functions/0/streaming"),
        ("def one(a, /): return {}", ONE, "/functions/0/parameters/0/name"),
        ("def one(a:", ONE, "/entry_point"),
        ("\0", ONE, "/entry_point"),
    ],
)
async def test_manifest_and_source_must_agree(gateway: Platform, source: str, described: dict[str, Any], pointer: str) -> None:
    found = refused(await upload(gateway, pack(manifest("static-one", described), source)), 422, "PACKAGE_INVALID")
    assert found["pointer"] == pointer, found


@pytest.mark.promise("gateway.static")
async def test_versions_must_agree(gateway: Platform) -> None:
    package = pack(manifest("version-one", ONE), SOURCE, **{"pyproject.toml": '[project]\nname = "x"\nversion = "2.0.0"\n'})
    assert refused(await upload(gateway, package), 422, "PACKAGE_INVALID")["pointer"] == "/version"


@pytest.mark.promise("gateway.build_fails")
async def test_a_prefab_that_cannot_be_imported_says_why_and_may_come_again(gateway: Platform) -> None:
    bad = pack(manifest("import-one", ONE), "print('so far')\nimport nothing_of_that_name\n" + SOURCE)
    spec = await publish(gateway, bad, expect="FAILED")
    assert "could not be imported" in spec["reason"]
    assert "No module named 'nothing_of_that_name'" in spec["log"]
    reply = await run(gateway, call("import-one", "one", {"a": 1}))
    assert reply.status_code == 409
    assert reply.json()["detail"]["error_code"] == "NOT_READY"
    await publish(gateway, pack(manifest("import-one", ONE), SOURCE))
    assert (await result(gateway, "import-one", "one", {"a": 1}))["status"] == "SUCCESS"


@pytest.mark.slow
@pytest.mark.promise("gateway.dependencies")
async def test_what_a_prefab_needs_is_installed(gateway: Platform) -> None:
    source = "import idna\ndef one(a: int) -> dict:\n    return {'encoded': idna.encode('ö' * a).decode()}\n"
    project = '[project]\nname = "needs-one"\nversion = "1.0.0"\ndependencies = ["idna>=3"]\n'
    await publish(gateway, pack(manifest("needs-one", ONE), source, **{"pyproject.toml": project}))
    assert (await result(gateway, "needs-one", "one", {"a": 1}))["output"]["output"] == {"encoded": "xn--nda"}


@pytest.mark.promise("gateway.aliases", "gateway.yank")
async def test_aliases_mean_the_newest_and_a_yanked_version_is_not_meant(gateway: Platform) -> None:
    for version in ("1.0.0", "1.2.0", "1.10.0", "2.0.0"):
        await publish(gateway, versioned("alias-one", version))

    async def means(alias: str) -> str:
        found = await result(gateway, "alias-one", "tell", version=alias)
        return found["output"]["output"]["version"]

    expected = {"latest": "2.0.0", "^1": "1.10.0", "1": "1.10.0", "1.2": "1.2.0", "~1.2": "1.2.0", "^1.1.0": "1.10.0", "1.0.0": "1.0.0"}
    assert {alias: await means(alias) for alias in expected} == expected
    assert (await gateway.api.get("/v1/prefabs/alias-one/spec")).json()["version"] == "2.0.0"
    yanked = await gateway.api.delete("/v1/prefabs/alias-one/2.0.0")
    assert yanked.json()["deployment_status"] == "YANKED"
    assert await means("latest") == "1.10.0"
    assert await means("2.0.0") == "2.0.0"
    listed = (await gateway.api.get("/v1/prefabs")).json()
    assert "2.0.0" not in [item["version"] for item in listed if item["id"] == "alias-one"]
    yanked_ones = (await gateway.api.get("/v1/prefabs", params={"status": "YANKED"})).json()
    assert ("alias-one", "2.0.0") in [(item["id"], item["version"]) for item in yanked_ones]
    await gateway.api.delete("/v1/prefabs/alias-one/2.0.0", params={"undo": "true"})
    assert await means("latest") == "2.0.0"


@pytest.mark.promise("gateway.aliases")
@pytest.mark.parametrize("version", ["^9", "3.0.0", "9"])
async def test_an_alias_that_admits_nothing_is_not_found(gateway: Platform, version: str) -> None:
    refused(await run(gateway, call(KIT, "add", {"a": 1}, version=version)), 404, "NOT_FOUND")


@pytest.mark.promise("gateway.aliases")
@pytest.mark.parametrize("version", ["../1", "1.0.0\0", "01.0.0", "v1", "1.0.0-rc1", "*", "%2e%2e", "1.0.0.0", ">=1"])
async def test_what_is_no_version_is_refused(gateway: Platform, version: str) -> None:
    refused(await run(gateway, call(KIT, "add", {"a": 1}, version=version)), 422, "VALIDATION_ERROR")


@pytest.mark.promise("gateway.private", "gateway.publishers")
async def test_another_tenants_private_prefab_is_not_there(gateway: Platform) -> None:
    other = {"X-API-Key": await key_of(gateway, "other-tenant")}
    await publish(gateway, versioned("private-one", "1.0.0"))
    await publish(gateway, versioned("public-one", "1.0.0"), visibility="public")
    for prefab_id in ("private-one", "never-there"):
        reply = await run(gateway, call(prefab_id, "tell"), headers=other)
        found = refused(reply, 404, "NOT_FOUND")
        assert found["message"] == f"There is no prefab {prefab_id!r} 1.0.0"
        refused(await gateway.api.get(f"/v1/prefabs/{prefab_id}/spec", headers=other), 404, "NOT_FOUND")
        refused(await gateway.api.delete(f"/v1/prefabs/{prefab_id}/1.0.0", headers=other), 404, "NOT_FOUND")
    seen = {item["id"] for item in (await gateway.api.get("/v1/prefabs", headers=other)).json()}
    assert "public-one" in seen
    assert "private-one" not in seen
    assert (await run(gateway, call("public-one", "tell"), headers=other)).json()["status"] == "COMPLETED"
    refused(await gateway.api.delete("/v1/prefabs/public-one/1.0.0", headers=other), 403, "PERMISSION_DENIED")
    for prefab_id in ("public-one", "private-one"):
        reply = await upload(gateway, versioned(prefab_id, "1.1.0"), key=other["X-API-Key"])
        refused(reply, 403, "PERMISSION_DENIED")


@pytest.mark.promise("gateway.openapi")
async def test_each_version_has_typed_paths(gateway: Platform) -> None:
    document = (await gateway.api.get(f"/v1/prefabs/{KIT}/^1/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    path = f"/v1/prefabs/{KIT}/1.0.0/functions/add"
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["parameters"]["required"] == ["a"]
    assert schema["properties"]["parameters"]["properties"]["b"]["default"] == 2
    reply = await gateway.api.post(path, json={"parameters": {"a": 5}}, headers={"Accept": "application/json"})
    assert reply.json()["results"][0]["output"]["output"] == {"sum": 7}
    refused(await gateway.api.post(path, json={"parameters": {"a": "5"}}), 422, "VALIDATION_ERROR")
    streamed = await gateway.api.post(f"/v1/prefabs/{KIT}/1.0.0/functions/count", json={"parameters": {"upto": 1}})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    ours = (await gateway.api.get("/v1/openapi.json")).json()
    assert "/v1/run" in ours["paths"]


@pytest.mark.promise("gateway.cli")
async def test_the_command_makes_checks_publishes_and_yanks(gateway: Platform, tmp_path: Path) -> None:
    directory = tmp_path / "cli-one"
    here = ("--data-dir", str(gateway.data_dir))
    code, out, _ = await command("prefab", "init", str(directory))
    assert code == 0
    assert "sandyard prefab publish" in out
    code, out, _ = await command("prefab", "validate", str(directory))
    assert (code, out) == (0, "cli-one 0.1.0: 1 function(s), no problems\n")
    code, out, err = await command("prefab", "publish", str(directory), *here)
    assert code == 0, err
    assert out.startswith("cli-one 0.1.0 is deployed (sha256:")
    found = await result(gateway, "cli-one", "greet", {"name": "Ada", "times": 2}, version="^0.1")
    assert found["output"]["output"]["message"] == "Hello, Ada! Hello, Ada!"
    code, out, _ = await command("prefab", "publish", str(directory), *here)
    assert code == 0
    code, out, _ = await command("prefab", "list", *here)
    assert "cli-one  0.1.0  deployed  private  Says hello." in out
    code, out, _ = await command("prefab", "show", "cli-one@^0", env={"PPIO_API_URL": gateway.api_url, "PPIO_API_KEY": gateway.key})
    assert json.loads(out)["id"] == "cli-one"
    code, out, _ = await command("prefab", "yank", "cli-one@0.1.0", *here)
    assert out == "cli-one 0.1.0 is yanked\n"
    code, _, err = await command("prefab", "yank", "cli-one@9.0.0", *here)
    assert (code, err) == (1, "error: There is no prefab 'cli-one' 9.0.0\n")


@pytest.mark.promise("gateway.cli")
async def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    directory = tmp_path / "cli-two"
    await command("prefab", "init", str(directory))
    source = (directory / "src/main.py").read_text()
    (directory / "src/main.py").write_text(source.replace("def greet(name", "def greet(who"))
    code, _, err = await command("prefab", "validate", str(directory))
    assert code == 1
    assert "/functions/0/parameters/0/name: greet() takes no parameter 'name'" in err
    assert "greet() needs 'who'" in err
    code, _, err = await command("prefab", "init", str(tmp_path / "No Id"))
    assert (code, "is no prefab id" in err) == (1, True)
