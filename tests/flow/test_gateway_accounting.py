"""Secrets, quotas, usage and the audit by their commands and endpoints, on a running server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sandyard.app.clock import SystemClock
from sandyard.services.audit.chain import Chain
from sandyard.services.audit.refusals import Refusals
from sandyard.store.sqlite import SqliteStore
from support.callers import agent
from support.platform import Platform, command, run, until
from support.prefabs import KIT, call
from support.prefabs import run as ask

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.anyio
SECRET = "a-value-of-its-own"


async def sandyard(platform: Platform, *words: str) -> str:
    code, out, err = await run(*words, "--data-dir", str(platform.data_dir))
    assert code == 0, err
    return out


@pytest.mark.promise("gateway-secrets.command")
async def test_secrets_are_set_named_rotated_and_forgotten(gateway: Platform) -> None:
    process = await asyncio.create_subprocess_exec(
        *command("prefab", "secrets", "set", KIT, "A_NAME", "--data-dir", str(gateway.data_dir)), stdin=asyncio.subprocess.PIPE
    )
    await process.communicate(SECRET.encode() + b"\n")
    assert process.returncode == 0
    assert "A_NAME" in await sandyard(gateway, "prefab", "secrets", "list", KIT)
    assert "1 secret(s)" in await sandyard(gateway, "prefab", "secrets", "rotate")
    reply = await gateway.api.get("/v1/secrets")
    assert [(item["prefab_id"], item["name"]) for item in reply.json()] == [(KIT, "A_NAME")]
    for path in gateway.data_dir.glob("sandyard.db*"):
        assert SECRET.encode() not in path.read_bytes()
    assert SECRET not in gateway.log.read_text()
    inside = agent(gateway) | {"X-API-Key": gateway.key}
    assert (await gateway.api.get("/v1/secrets", headers=inside)).status_code == 200
    assert "forgotten" in await sandyard(gateway, "prefab", "secrets", "forget", KIT, "A_NAME")
    assert (await gateway.api.delete(f"/v1/prefabs/{KIT}/secrets/A_NAME")).status_code == 404


@pytest.mark.promise("gateway-quotas.command", "gateway-quotas.headers")
async def test_quotas_are_set_by_a_command_and_said_in_headers(gateway: Platform) -> None:
    out = await sandyard(gateway, "quota", "set", "0", "--per", "hour", "--prefab", KIT)
    quota = out.split()[0]
    try:
        assert quota in await sandyard(gateway, "quota", "list")
        reply = await ask(gateway, call(KIT, "add", {"a": 1}))
        assert reply.status_code == 429
        assert reply.headers["ratelimit-policy"] == '"calls_per_prefab";q=0;w=3600'
        assert reply.headers["ratelimit"].startswith('"calls_per_prefab";r=0;t=')
        assert int(reply.headers["retry-after"]) >= 1
    finally:
        await sandyard(gateway, "quota", "remove", quota)
    assert (await ask(gateway, call(KIT, "add", {"a": 1}))).status_code == 200


@pytest.mark.promise("gateway-quotas.usage")
async def test_what_was_used_is_reported(gateway: Platform) -> None:
    assert (await ask(gateway, call(KIT, "add", {"a": 1}), call(KIT, "boom", {}))).status_code == 200
    lines = [json.loads(line) for line in (await sandyard(gateway, "usage", "--json")).splitlines()]
    used = {line["function"]: line for line in lines if line["prefab_id"] == KIT and line["key"]}
    assert used["add"]["succeeded"] >= 1
    assert used["boom"]["succeeded"] == 0
    assert used["boom"]["calls"] >= 1
    reported = (await gateway.api.get("/v1/usage")).json()["usage"]
    assert {line["function"] for line in reported} >= {"add", "boom"}


@pytest.mark.promise("gateway-audit.chain")
async def test_the_audit_shows_whether_it_was_touched(gateway: Platform, tmp_path: Path) -> None:
    assert (await ask(gateway, call(KIT, "add", {"a": 4711}))).status_code == 200
    verified = await sandyard(gateway, "audit", "verify")
    head = verified.split()[-1]
    await sandyard(gateway, "audit", "verify", "--head", head)
    shown = await sandyard(gateway, "audit", "show")
    assert f"{KIT}@1.0.0/add" in shown
    assert "4711" not in shown
    copy = tmp_path / "copy"
    (copy / "secrets").mkdir(parents=True)
    (copy / "secrets" / "audit_key").write_bytes((gateway.data_dir / "secrets" / "audit_key").read_bytes())
    with sqlite3.connect(gateway.data_dir / "sandyard.db") as source, sqlite3.connect(copy / "sandyard.db") as target:
        source.backup(target)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            target.execute("UPDATE audit SET outcome = 'x'")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            target.execute("DELETE FROM audit")
        target.execute("DROP TRIGGER audit_is_not_changed")
        target.execute("UPDATE audit SET outcome = 'SUCCESS!' WHERE number = 1")
        target.commit()
    source.close()
    target.close()
    code, _, err = await run("audit", "verify", "--data-dir", str(copy))
    assert code == 1
    assert "entry 1 was changed" in err


def audited(platform: Platform) -> list[tuple[str, str, str, str]]:
    """Return who did what, from the rows: owner, action, subject, outcome."""
    rows = sqlite3.connect(platform.data_dir / "sandyard.db")
    try:
        return rows.execute("SELECT owner, action, subject, outcome FROM audit").fetchall()
    finally:
        rows.close()


@pytest.mark.promise("gateway-audit.changes")
async def test_the_audit_names_what_was_changed(gateway: Platform) -> None:
    await sandyard(gateway, "key", "create", "of-audited", "--owner", "audited")
    key_id = next(entry[2] for entry in audited(gateway) if entry[3] == "of-audited")
    await sandyard(gateway, "key", "revoke", key_id)
    files = {"file": ("a.txt", b"words of a file")}
    lasting = (await gateway.api.post("/internal/files/upload", files=files, headers=agent(gateway))).json()
    await gateway.api.post("/internal/files/upload_temp", data={"session_id": "audited"}, files=files, headers=agent(gateway))
    await gateway.api.delete("/internal/files/cleanup_temp", params={"session_id": "audited"}, headers=agent(gateway))
    given = (await gateway.api.post("/internal/files/generate_upload_url", json={"filename": "b.txt"})).json()
    assert (await gateway.api.put(given["upload_url"], content=b"more words", headers={"X-API-Key": ""})).status_code == 200
    for undo in ("false", "true"):
        assert (await gateway.api.delete(f"/v1/prefabs/{KIT}/1.0.0", params={"undo": undo})).status_code == 200
    assert (await gateway.api.post("/secrets", json={"name": "of_sandboxes", "value": SECRET})).status_code == 201
    assert (await gateway.api.delete("/secrets/of_sandboxes")).status_code == 204
    entries = audited(gateway)
    assert {
        ("audited", "key.create", key_id, "of-audited"),
        ("audited", "key.revoke", key_id, "SUCCESS"),
        ("default", "files.upload", lasting["s3_url"].removeprefix("s3://sandyard/"), "15 bytes"),
        ("default", "files.upload", given["s3_url"].removeprefix("s3://sandyard/"), "10 bytes"),
        ("default", "files.cleanup", "audited", "1 deleted"),
        ("default", "prefab.yank", f"{KIT}@1.0.0", "SUCCESS"),
        ("default", "prefab.unyank", f"{KIT}@1.0.0", "SUCCESS"),
        ("default", "secrets.set", "sandboxes/of_sandboxes", "SUCCESS"),
        ("default", "secrets.forget", "sandboxes/of_sandboxes", "SUCCESS"),
    } <= set(entries)
    assert any(entry[1:3] == ("prefab.publish", f"{KIT}@1.0.0") for entry in entries)
    assert not any(SECRET in text or "words" in text for entry in entries for text in entry)
    assert "are whole" in await sandyard(gateway, "audit", "verify")


@pytest.mark.promise("gateway-audit.flood")
async def test_refused_credentials_are_noted_and_a_flood_is_few_entries(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data") as fresh:  # the first refusal is noted at once, the others a minute later
        wrong = {"X-API-Key": "sk-" + "z" * 40}  # of no form that may be a new key, which would be waited for
        for path in ("/v1/prefabs", "/sandboxes") * 20:
            assert (await fresh.api.get(path, headers=wrong)).status_code in {401, 429}

        async def noted() -> bool:
            return bool(refusals_of(fresh))

        await until(noted)
        refused = refusals_of(fresh)
    assert len(refused) < 20
    assert not any("zzzz" in text for entry in refused for text in entry)


def refusals_of(platform: Platform) -> list[tuple[str, str, str, str]]:
    return [entry for entry in audited(platform) if entry[1] == "auth.refused"]


@pytest.mark.promise("gateway-audit.flood")
async def test_a_flood_from_everywhere_is_few_entries(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "sandyard.db")
    audit = await Chain.open(store.audit, tmp_path / "secrets", SystemClock())
    refusals = Refusals(audit)
    for number in range(20_000):
        refusals.count(f"10.0.{number % 50}.{number % 250}", "API key")
    task = asyncio.create_task(refusals.run())

    async def written() -> bool:
        return (await audit.verify()).entries >= 33

    await until(written)
    refusals.count("10.9.9.9", "token")
    task.cancel()
    await asyncio.wait([task])
    entries = await store.audit.read(0, 1000)
    assert [entry.credential for entry in entries if entry.credential in {"other addresses", "10.9.9.9"}] == ["other addresses", "10.9.9.9"]
    assert len(entries) == 34
    assert sum(int(entry.outcome.split()[0]) for entry in entries) == 20_001
    assert (await audit.verify()).problem is None
    await store.close()


async def logs(platform: Platform, path: str, **params: int) -> list[dict[str, Any]]:
    reply = await platform.api.get(f"/v1/{path}/logs", params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()["logs"]


@pytest.mark.promise("gateway-logs.kept")
async def test_what_calls_print_is_kept_for_their_caller(gateway: Platform) -> None:
    batch = await ask(gateway, call(KIT, "say", {"text": "first"}), call(KIT, "add", {"a": 1}), call(KIT, "boom", {}))
    job = batch.json()["job_id"]
    said, failed = await logs(gateway, f"jobs/{job}")
    assert (said["call"], said["text"], said["status"], said["function_name"]) == (0, "0 first\n", "SUCCESS", "say")
    assert (failed["call"], failed["status"]) == (2, "FAILED")
    assert failed["text"].startswith("before the end\n")
    long = (await ask(gateway, call(KIT, "say", {"text": "many", "times": 5000}))).json()["job_id"]
    (cut,) = await logs(gateway, f"jobs/{long}")
    assert len(cut["text"]) <= 16 * 1024
    assert cut["text"].endswith("\n4999 many\n")
    assert cut["text"].splitlines()[0].endswith(" many")
    newest = await logs(gateway, f"prefabs/{KIT}", limit=2)
    assert [log["job_id"] for log in newest] == [job, long]
    assert await logs(gateway, f"prefabs/{KIT}", after=newest[-1]["number"]) == []
    stranger = agent(gateway, "somebody-else")
    assert (await bare(gateway, f"/v1/jobs/{job}/logs", stranger)).status_code == 404
    assert (await bare(gateway, f"/v1/prefabs/{KIT}/logs", stranger)).status_code == 404
    assert (await bare(gateway, f"/v1/prefabs/{KIT}/logs", {})).status_code == 401


@pytest.mark.promise("gateway-logs.kept")
async def test_logs_are_followed(gateway: Platform) -> None:
    process = await asyncio.create_subprocess_exec(
        *command("prefab", "logs", KIT, "--follow", "--data-dir", str(gateway.data_dir)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            await ask(gateway, call(KIT, "say", {"text": "before"}))
            while b"before" not in await process.stdout.readline():
                continue
            await ask(gateway, call(KIT, "say", {"text": "red \x1b[31m"}))
            while b"red" not in (line := await process.stdout.readline()):
                continue
        assert line == "0 red \N{REPLACEMENT CHARACTER}[31m\n".encode()
    finally:
        process.kill()
        await process.communicate()


async def bare(platform: Platform, path: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=platform.api_url, timeout=60, trust_env=False) as client:
        return await client.get(path, headers=headers)
