"""Secrets of sandboxes through the public doors: both vendors' shapes, where values go and where they do not."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.platform import run

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = pytest.mark.anyio

PPIO = {"publisher": "ppio"}
E2B = {"publisher": "e2b"}


def a_name() -> str:
    return f"Key-{secrets.token_hex(4)}"


@pytest.mark.promise("secrets.shapes")
async def test_secrets_of_e2bs_clients(platform: Platform) -> None:
    name = a_name()
    made = await platform.api.post("/secrets", json={"name": name, "value": "v1", "metadata": {"a": "b"}}, headers=E2B)
    assert made.status_code == 201
    assert set(made.json()) == {"secretID", "name", "currentVersion", "metadata", "createdAt", "updatedAt"}
    assert (made.json()["name"], made.json()["currentVersion"]) == (name.lower(), 1)
    assert (await platform.api.post("/secrets", json={"name": name, "value": "v"}, headers=E2B)).status_code == 409
    updated = await platform.api.post(f"/secrets/{made.json()['secretID']}", json={"value": "v2"}, headers=E2B)
    assert (updated.json()["currentVersion"], updated.json()["metadata"]) == (2, {"a": "b"})
    await platform.api.post("/secrets", json={"name": a_name(), "value": "v"}, headers=E2B)
    first = await platform.api.get("/secrets", params={"limit": 1}, headers=E2B)
    after = {"limit": 1, "nextToken": first.headers["X-Next-Token"]}
    assert (await platform.api.get("/secrets", params=after, headers=E2B)).json()[0]["name"] > first.json()[0]["name"]
    code, key, _ = await run("key", "create", "--data-dir", str(platform.data_dir), "--owner", "stranger")
    assert code == 0
    stranger = E2B | {"X-API-Key": key.strip()}
    assert (await platform.api.get(f"/secrets/{name}", headers=stranger)).status_code == 404
    assert (await platform.api.delete(f"/secrets/{name}", headers=stranger)).status_code == 404
    assert [(await platform.api.delete(f"/secrets/{name}", headers=E2B)).status_code for _ in range(2)] == [204, 404]
    for body in ({"name": "a{b", "value": "v"}, {"name": name, "value": ""}, {"name": name, "value": "a\0b"}):
        refused = await platform.api.post("/secrets", json=body, headers=E2B)
        assert refused.status_code == 400


@pytest.mark.promise("secrets.shapes")
async def test_secrets_of_ppios_clients(platform: Platform) -> None:
    name = a_name()
    body = {"name": name, "value": "v1", "hosts": ["api.example"], "description": "d"}
    made = await platform.api.post("/secrets", json=body, headers=PPIO)
    assert (made.status_code, made.json()["name"], made.json()["hosts"]) == (201, name, ["api.example"])
    listed = (await platform.api.get("/secrets", headers=PPIO)).json()["secrets"]
    assert [each["description"] for each in listed if each["name"] == name] == ["d"]
    changed = await platform.api.put(f"/secrets/{name}", json={"value": "v2", "hosts": []}, headers=PPIO)
    assert (changed.status_code, changed.json()["hosts"]) == (200, [])
    deleted = await platform.api.delete(f"/secrets/{name}", headers=PPIO)
    assert (deleted.status_code, deleted.json()) == (200, {"deleted": name})


@pytest.mark.promise("secrets.bound", "secrets.sealed")
@pytest.mark.slow
async def test_values_reach_bound_sandboxes_and_nothing_else(process_platform: Platform) -> None:
    value, plain, name = f"secret-{secrets.token_hex(16)}", f"plain-{secrets.token_hex(16)}", a_name()
    kept = await process_platform.api.post("/secrets", json={"name": name, "value": value, "hosts": []}, headers=PPIO)
    answers = [kept.text, (await process_platform.api.get("/secrets", headers=E2B)).text]
    env = {"PLAIN": plain, "FILLED": f"<${{e2b.secrets.{name.lower()}}}>"}
    box = await process_platform.create("base", secrets={"TOKEN": name}, envVars=env)
    bare = await process_platform.create("base")
    inside = (await process_platform.call(box, "/envs", port=49983)).json()
    assert (inside["TOKEN"], inside["FILLED"], inside["PLAIN"]) == (value, f"<{value}>", plain)
    assert value not in (await process_platform.call(bare, "/envs", port=49983)).text
    at = f"/sandboxes/{box['sandboxID']}"
    answers += [(await process_platform.api.get(at)).text, (await process_platform.api.get("/v2/sandboxes")).text]
    assert (await process_platform.api.post(f"{at}/pause", json={"memory": False})).status_code == 204
    _nowhere(process_platform, value, plain)
    again = await process_platform.api.post(f"/v2{at}/connect", json={"timeout": 60})
    assert again.status_code == 201, again.text
    assert (await process_platform.call(again.json(), "/envs", port=49983)).json()["TOKEN"] == value
    missing = await process_platform.api.post("/sandboxes", json={"templateID": "base", "secrets": {"TOKEN": "not-there"}})
    assert (missing.status_code, missing.json()["details"]) == (400, {"secret": "not-there"})
    assert not any(word in answer for answer in answers for word in (value, plain))
    for sandbox in (box, bare):
        await process_platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")
    _nowhere(process_platform, value, plain)


@pytest.mark.promise("secrets.rotated")
@pytest.mark.slow
async def test_what_is_sealed_survives_the_old_master_key(process_platform: Platform) -> None:
    name = a_name()
    await process_platform.api.post("/secrets", json={"name": name, "value": "kept"}, headers=PPIO)
    box = await process_platform.create("base", secrets={"TOKEN": name})
    at = f"/sandboxes/{box['sandboxID']}"
    assert (await process_platform.api.post(f"{at}/pause", json={"memory": False})).status_code == 204
    code, out, said = await run("prefab", "secrets", "rotate", "--data-dir", str(process_platform.data_dir))
    assert (code, "secret(s) lie under the newest master key" in out) == (0, True), said
    keys = process_platform.data_dir / "secrets" / "master_keys"
    keys.write_text(keys.read_text().splitlines()[-1] + "\n")
    again = await process_platform.api.post(f"/v2{at}/connect", json={"timeout": 60})
    assert (await process_platform.call(again.json(), "/envs", port=49983)).json()["TOKEN"] == "kept"
    fresh = await process_platform.create("base", secrets={"TOKEN": name})
    assert (await process_platform.call(fresh, "/envs", port=49983)).json()["TOKEN"] == "kept"
    for sandbox in (box, fresh):
        await process_platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")


def _nowhere(platform: Platform, *values: str) -> None:
    """Neither in a file of the data directory, nor in the log, nor in the arguments of a process."""
    files = [path for path in platform.data_dir.rglob("*") if path.is_file() and not path.is_symlink()]
    arguments = Path("/proc").glob("[0-9]*/cmdline")
    for path in (*files, platform.log, *arguments):
        try:
            held = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        assert not any(value.encode() in held for value in values), path
