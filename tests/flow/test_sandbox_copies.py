"""Files and processes of sandboxes on the process back end: paused, saved, forked, reset, measured, cut off."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from support.packages import ECHO, write_agent
from support.platform import Platform, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


DIALER = """\
import asyncio, json

standing = None

async def dial():
    reader, writer = await asyncio.open_connection("127.0.0.1", 3128)
    writer.write(b"CONNECT 127.0.0.2:PORT HTTP/1.1\\r\\n\\r\\n")
    line = (await reader.readline()).decode()
    while (await reader.readline()).strip():
        pass
    return line, reader, writer

async def app(scope, receive, send):
    global standing
    if scope["type"] != "http":
        return
    line, reader, writer = await dial()
    if standing is None:
        standing = (reader, writer)
    try:
        standing[1].write(b"echo")
        await standing[1].drain()
        echo = (await asyncio.wait_for(standing[0].read(4), 10)).decode()
    except (OSError, RuntimeError):
        echo = ""
    body = json.dumps({"new": line, "standing": echo}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

if __name__ == "__main__":
    import uvicorn
    uvicorn.run(app, host="127.0.0.1", port=8080, log_level="warning")
"""


async def write(platform: Platform, sandbox: dict[str, Any], path: str, text: str) -> None:
    reply = await platform.call(sandbox, "/files", method="POST", port=49983, params={"path": path}, files={"file": text.encode()})
    assert reply.status_code == 200, reply.text


async def read(platform: Platform, sandbox: dict[str, Any], path: str) -> str | None:
    reply = await platform.call(sandbox, "/files", port=49983, params={"path": path})
    assert reply.status_code in (200, 404), reply.text
    return reply.text if reply.status_code == 200 else None


async def detail_of(platform: Platform, sandbox: dict[str, Any]) -> dict[str, Any]:
    reply = await platform.api.get(f"/sandboxes/{sandbox['sandboxID']}")
    return reply.json()


async def kill(platform: Platform, *sandboxes: dict[str, Any]) -> None:
    for sandbox in sandboxes:
        await platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")


def states_of(platform: Platform) -> list[Path]:
    directory = platform.data_dir / "states"
    return list(directory.iterdir()) if directory.is_dir() else []


@pytest.fixture
async def base(process_platform: Platform) -> AsyncGenerator[dict[str, Any]]:
    created = await process_platform.create("base", metadata={"k": "v"}, envVars={"GREETING": "hi"})
    yield created
    await kill(process_platform, created)


@pytest.mark.promise("sandboxes.pause-files", "sandboxes.saved-left")
async def test_a_pause_without_memory_keeps_the_files_alone(process_platform: Platform, base: dict[str, Any]) -> None:
    platform, url = process_platform, f"/sandboxes/{base['sandboxID']}"
    await write(platform, base, "/home/user/kept", "one")
    before = (await platform.api.get("/sandboxes/quota")).json()["used"]
    assert (await platform.api.post(f"{url}/pause", json={"memory": False})).status_code == 204
    assert (await detail_of(platform, base))["pauseMode"] == "filesystem"
    assert (await platform.api.get("/sandboxes/quota")).json()["used"] == before - 1
    assert len(states_of(platform)) == 1
    assert (await platform.api.post(f"{url}/pause", json={})).status_code == 409
    assert (await platform.call(base, "/health", port=49983)).status_code == 502
    resumed = await platform.api.post(f"/v2{url}/connect", json={"timeout": 60})
    assert resumed.status_code == 201
    assert resumed.json()["envdAccessToken"] == base["envdAccessToken"]
    assert await read(platform, base, "/home/user/kept") == "one"
    await write(platform, base, "/home/user/more", "two")
    await platform.api.post(f"{url}/pause")
    cold = await platform.api.post(f"/v2{url}/connect", json={"memory": False})
    assert cold.status_code == 201
    assert [await read(platform, base, f"/home/user/{name}") for name in ("kept", "more")] == ["one", "two"]
    assert len(states_of(platform)) == 1
    await kill(platform, base)
    assert states_of(platform) == []


@pytest.mark.promise("sandboxes.pause-files")
async def test_an_agent_that_was_paused_without_memory_starts_anew(process_platform: Platform) -> None:
    platform = process_platform
    agent = await platform.create("echo")
    assert [(await platform.call(agent)).json()["calls"] for _ in range(2)] == [1, 2]
    assert (await platform.api.post(f"/sandboxes/{agent['sandboxID']}/pause", json={"memory": False})).status_code == 204
    assert (await platform.api.post(f"/sandboxes/{agent['sandboxID']}/connect", json={"timeout": 60})).status_code == 201
    assert (await platform.call(agent)).json()["calls"] == 1
    await kill(platform, agent)


@pytest.mark.promise("sandboxes.auto-pause")
@pytest.mark.parametrize(("memory", "mode"), [(True, "full"), (False, "filesystem")])
async def test_a_time_out_pauses_as_wished(process_platform: Platform, memory: bool, mode: str) -> None:
    made = await process_platform.create("base", timeout=1, autoPause=True, autoPauseMemory=memory)

    async def is_paused() -> bool:
        return (await detail_of(process_platform, made)).get("pauseMode") == mode

    await until(is_paused)
    assert (await process_platform.api.post(f"/sandboxes/{made['sandboxID']}/connect", json={"timeout": 60})).status_code == 201
    assert (await process_platform.call(made, "/health", port=49983)).status_code == 204
    await kill(process_platform, made)


@pytest.mark.promise("sandboxes.snapshots")
async def test_a_snapshot_is_started_from_listed_named_anew_and_deleted(process_platform: Platform, base: dict[str, Any]) -> None:
    platform, url = process_platform, f"/sandboxes/{base['sandboxID']}/snapshots"
    await write(platform, base, "/home/user/state", "first")
    made = (await platform.api.post(url, json={"name": "mine"})).json()
    assert made["snapshotID"] == "mine:default"
    assert made["memory"] is False
    assert "memory are not in it" in made["message"]
    await write(platform, base, "/home/user/state", "second")
    tagged = (await platform.api.post(url, json={"name": "mine:v2", "memory": False})).json()
    assert tagged["names"] == ["mine:v2"]
    assert "message" not in tagged
    unnamed = (await platform.api.post(url)).json()
    listed = (await platform.api.get("/snapshots", params={"sandboxID": base["sandboxID"]})).json()
    ids = [unnamed["snapshotID"], "mine:v2", "mine:default"]
    assert [snapshot["snapshotID"] for snapshot in listed] == ids
    page = await platform.api.get("/snapshots", params={"limit": 1, "name": "mine"})
    assert [page.json()[0]["snapshotID"], len(page.json())] == ["mine:v2", 1]
    copies = [await platform.create(id_) for id_ in ("mine:default", "mine:v2", unnamed["snapshotID"])]
    assert [await read(platform, copy, "/home/user/state") for copy in copies] == ["first", "second", "second"]
    assert (await platform.api.delete("/templates/mine:v2")).status_code == 409
    await kill(platform, *copies)
    for id_ in ids:
        assert (await platform.api.delete(f"/templates/{id_}")).status_code == 204
    assert (await platform.api.get("/snapshots")).json() == []
    assert (await platform.api.post(url, json={"name": "echo"})).status_code == 409


@pytest.mark.promise("sandboxes.snapshots")
async def test_a_snapshot_of_an_agent_is_an_agent_and_holds_its_package(process_platform: Platform) -> None:
    platform = process_platform
    agent = await platform.create("echo")
    await write(platform, agent, "/home/user/notes", "kept")
    committed = (await platform.api.post(f"/sandboxes/{agent['sandboxID']}/commit", json={"alias": "echo-kept"})).json()
    assert committed["aliases"] == ["echo-kept"]
    copy = await platform.create(committed["templateID"])
    assert (await platform.call(copy)).json()["calls"] == 1
    assert await read(platform, copy, "/home/user/notes") == "kept"
    again = (await platform.api.post(f"/sandboxes/{copy['sandboxID']}/snapshots", json={"name": "echo-twice"})).json()
    twice = await platform.create(again["snapshotID"])
    assert await read(platform, twice, "/home/user/notes") == "kept"
    await kill(platform, agent, copy, twice)
    refused = await platform.api.delete("/templates/echo")
    assert refused.status_code == 409, refused.text
    for name in ("echo-kept", "echo-twice"):
        assert (await platform.api.delete(f"/templates/{name}")).status_code == 204


@pytest.mark.promise("sandboxes.fork", "sandboxes.saved-left")
async def test_forks_begin_with_the_files_of_their_sandbox(process_platform: Platform, base: dict[str, Any]) -> None:
    platform = process_platform
    await write(platform, base, "/home/user/state", "source")
    reply = await platform.api.post(f"/sandboxes/{base['sandboxID']}/fork", json={"count": 3, "timeout": 120})
    assert reply.status_code == 201, reply.text
    forks = [one["sandbox"] for one in reply.json()]
    assert len({fork["sandboxID"] for fork in forks} | {base["sandboxID"]}) == 4
    await write(platform, forks[0], "/home/user/state", "own")
    assert [await read(platform, one, "/home/user/state") for one in (*forks, base)] == ["own", "source", "source", "source"]
    assert (await detail_of(platform, forks[1]))["metadata"] == {"k": "v"}
    envs = await platform.call(forks[1], "/envs", port=49983)
    assert envs.json()["GREETING"] == "hi"
    await kill(platform, *forks[:2])
    assert len(states_of(platform)) == 1
    await kill(platform, forks[2])
    assert states_of(platform) == []


@pytest.mark.promise("sandboxes.fork")
@pytest.mark.parametrize("memory", [True, False])
async def test_a_paused_sandbox_is_forked_and_stays_paused(process_platform: Platform, base: dict[str, Any], memory: bool) -> None:
    platform = process_platform
    await write(platform, base, "/home/user/state", "source")
    await platform.api.post(f"/sandboxes/{base['sandboxID']}/pause", json={"memory": memory})
    (fork,) = (await platform.api.post(f"/sandboxes/{base['sandboxID']}/fork", json={"timeout": 60})).json()
    assert await read(platform, fork["sandbox"], "/home/user/state") == "source"
    assert (await detail_of(platform, base))["pauseMode"] == ("full" if memory else "filesystem")
    await kill(platform, base)
    await platform.api.post(f"/sandboxes/{fork['sandbox']['sandboxID']}/reset", json={"timeout": 60})
    assert await read(platform, fork["sandbox"], "/home/user/state") == "source"
    await kill(platform, fork["sandbox"])
    assert states_of(platform) == []


@pytest.mark.promise("sandboxes.fork")
async def test_each_fork_succeeds_or_fails_for_itself(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", "--max-sandboxes", "3", backend="process") as platform:
        base = await platform.create("base")
        outcome = (await platform.api.post(f"/sandboxes/{base['sandboxID']}/fork", json={"count": 4, "timeout": 60})).json()
        errors = [one["error"] for one in outcome if "error" in one]
        assert len(errors) == 2
        assert {error["code"] for error in errors} == {429}
        strict = await platform.api.post(f"/sandboxes/{base['sandboxID']}/clone", json={"count": 2, "strict": True})
        assert strict.status_code == 429
        await kill(platform, *(one["sandbox"] for one in outcome if "sandbox" in one))
        clones = (await platform.api.post(f"/sandboxes/{base['sandboxID']}/clone", json={"count": 3, "nodeID": "n"})).json()
        assert len(clones["sandboxes"]) == 2
        assert (await platform.api.get(f"/templates/{clones['snapshotTemplateId']}")).status_code == 200
        assert (await platform.api.post(f"/sandboxes/{base['sandboxID']}/fork", json={"count": 21})).status_code == 400


@pytest.mark.promise("sandboxes.reset")
async def test_a_reset_goes_back_to_what_it_began_with(process_platform: Platform, base: dict[str, Any]) -> None:
    platform, url = process_platform, f"/sandboxes/{base['sandboxID']}/reset"
    await write(platform, base, "/home/user/state", "changed")
    assert (await platform.api.post(url, json={"timeout": 120})).json() == {}
    assert await read(platform, base, "/home/user/state") is None
    await write(platform, base, "/home/user/state", "source")
    (fork,) = (await platform.api.post(f"/sandboxes/{base['sandboxID']}/fork", json={"timeout": 120})).json()
    copy = fork["sandbox"]
    await write(platform, copy, "/home/user/state", "changed")
    await platform.api.post(f"/sandboxes/{copy['sandboxID']}/pause", json={"memory": False})
    reply = await platform.api.post(f"/sandboxes/{copy['sandboxID']}/reset", json={"resume": False})
    assert reply.status_code == 200
    assert (await detail_of(platform, copy))["state"] == "paused"
    await platform.api.post(f"/sandboxes/{copy['sandboxID']}/connect", json={"timeout": 60})
    assert await read(platform, copy, "/home/user/state") == "source"
    await kill(platform, copy)


@pytest.mark.promise("sandboxes.saved-left")
async def test_what_is_saved_survives_a_killed_server_and_what_nobody_needs_does_not(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        base = await platform.create("base")
        await write(platform, base, "/home/user/state", "kept")
        await platform.api.post(f"/sandboxes/{base['sandboxID']}/pause", json={"memory": False})
        await platform.kill9()
        (tmp_path / "data" / "states" / "stray").mkdir()
        await platform.start()
        assert [path.name for path in states_of(platform)] != ["stray"]
        assert (await detail_of(platform, base))["pauseMode"] == "filesystem"
        assert (await platform.api.post(f"/sandboxes/{base['sandboxID']}/connect", json={"timeout": 60})).status_code == 201
        assert await read(platform, base, "/home/user/state") == "kept"
        assert len(states_of(platform)) == 1


@pytest.mark.promise("sandboxes.metrics")
async def test_metrics_are_real(process_platform: Platform, base: dict[str, Any]) -> None:
    platform, url = process_platform, f"/sandboxes/{base['sandboxID']}/metrics"
    await platform.api.get(url)
    await write(platform, base, "/home/user/large", "x" * 3_000_000)
    (latest,) = (
        (await platform.api.get("/sandboxes/metrics", params={"sandbox_ids": f"{base['sandboxID']},unknown"})).json()["sandboxes"].values()
    )
    assert 0 <= latest["cpuUsedPct"] <= 100
    assert latest["cpuCount"] >= 1
    assert 0 < latest["memUsed"] <= latest["memTotal"]
    assert 0 <= latest["memCache"] <= latest["memUsed"]
    assert latest["diskUsed"] <= latest["diskTotal"]
    at = latest["timestampUnix"]
    for unit in (1, 1000):
        found = (await platform.api.get(url, params={"start": (at - 60) * unit, "end": (at + 60) * unit})).json()
        assert found
        assert (await platform.api.get(url, params={"start": (at - 900) * unit, "end": (at - 800) * unit})).json() == []


@pytest.mark.promise("sandboxes.logs")
async def test_logs_go_by_cursor_direction_level_and_search(process_platform: Platform, tmp_path: Path) -> None:
    platform = process_platform
    source = "import sys\nfor n in range(5): print('line', n, flush=True)\n" + ECHO.replace(
        "calls += 1", "calls += 1; print('call', calls)"
    )
    await platform.deploy(write_agent(tmp_path / "loud", "loud", source))
    made = await platform.create("loud")
    url = f"/sandboxes/{made['sandboxID']}/logs"

    async def lines(**query: Any) -> list[str]:
        return [entry["message"] for entry in (await platform.api.get(f"/v2{url}", params=query)).json()["logs"]]

    assert await lines(search="line") == [f"line {n}" for n in range(5)]
    assert await lines(search="line", limit=2) == ["line 0", "line 1"]
    assert await lines(search="line", limit=2, direction="backward") == ["line 4", "line 3"]
    assert await lines(level="warn") == []
    entries = (await platform.api.get(f"/v2{url}")).json()["logs"]
    times = [entry["timestamp"] for entry in entries]
    assert times == sorted(set(times))
    await platform.call(made)

    async def has_called() -> bool:
        return await lines(search="call 1") == ["call 1"]

    await until(has_called)
    newer = (await platform.api.get(f"/v2{url}")).json()["logs"]
    assert newer[: len(entries)] == entries
    cursor = int(datetime_ms(newer[len(entries)]["timestamp"]))
    assert (await lines(cursor=cursor))[-1] == "call 1"
    assert "line 0" not in await lines(cursor=cursor)
    old = (await platform.api.get(url, params={"limit": 1})).json()
    assert [entry["line"] for entry in old["logs"]] == ["call 1"]
    assert [entry["message"] for entry in old["logEntries"]] == ["call 1"]
    assert (await platform.api.get(url, params={"start": cursor})).json()["logs"][-1]["line"] == "call 1"
    await kill(platform, made)


def datetime_ms(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


@pytest.mark.promise("sandboxes.network")
async def test_a_network_is_replaced_while_it_runs_and_holds_under_a_new_server(tmp_path: Path) -> None:
    async def repeats(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()

    world = await asyncio.start_server(repeats, "127.0.0.2", 0)
    port = world.sockets[0].getsockname()[1]
    source = DIALER.replace("PORT", str(port))
    async with world, Platform(tmp_path / "data", "--egress-allow", f"127.0.0.2:{port}", backend="process") as platform:
        await platform.deploy(write_agent(tmp_path / "dialer", "dialer", source))
        made = await platform.create("dialer")
        url = f"/sandboxes/{made['sandboxID']}/network"

        async def asked() -> dict[str, str]:
            return json.loads((await platform.call(made)).text)

        assert (await asked())["new"].startswith("HTTP/1.1 200")
        assert (await asked())["standing"] == "echo"
        assert (await platform.api.put(url, json={"denyOut": ["127.0.0.0/8"]})).status_code == 204
        found = await asked()
        assert found["standing"] == ""
        assert "deny list" in found["new"]
        await platform.restart()
        assert "deny list" in (await asked())["new"]
        assert (await detail_of(platform, made))["network"]["denyOut"] == ["127.0.0.0/8"]
        await platform.api.put(url, json={"denyOut": ["0.0.0.0/0"], "allowOut": ["127.0.0.2"]})
        assert (await asked())["new"].startswith("HTTP/1.1 200")
        await platform.api.put(url, json={"allow_internet_access": False})
        assert "deny list" in (await asked())["new"]
        assert (await platform.api.put(url, json={"denyOut": ["not a host"]})).status_code == 400


@pytest.mark.promise("sandboxes.pause-files", "sandboxes.saved-left")
async def test_verbs_that_race_leave_one_true_state_and_nothing_saved(process_platform: Platform, base: dict[str, Any]) -> None:
    platform, url = process_platform, f"/sandboxes/{base['sandboxID']}"
    await write(platform, base, "/home/user/state", "kept")

    async def ask(path: str, body: dict[str, Any]) -> int:
        return (await platform.api.post(url + path, json=body)).status_code

    verbs: list[tuple[str, dict[str, Any]]] = [("/pause", {"memory": False}), ("/connect", {}), ("/pause", {}), ("/fork", {"count": 1})]
    codes = await asyncio.gather(*(ask(*verb) for verb in verbs * 3))
    assert set(codes) <= {200, 201, 204, 409}, codes
    await ask("/connect", {})
    assert await read(platform, base, "/home/user/state") == "kept"
    others = [row for row in (await platform.api.get("/v2/sandboxes")).json() if row["metadata"] == {"k": "v"}]
    racing = [*(ask("/pause", {"memory": False}) for _ in range(2)), *(kill(platform, other) for other in others), ask("/reset", {})]
    await asyncio.gather(*racing)

    async def is_gone() -> bool:
        return (await platform.api.get(url)).status_code == 404

    await until(is_gone)
    assert states_of(platform) == []


@pytest.mark.promise("sandboxes.pause-files")
async def test_a_resume_that_fails_leaves_the_files(process_platform: Platform, tmp_path: Path) -> None:
    platform = process_platform
    source = "import os, sys\nif os.path.exists('/home/user/broken'): sys.exit('broken')\n" + ECHO
    await platform.deploy(write_agent(tmp_path / "frail", "frail", source))
    agent = await platform.create("frail")
    url = f"/sandboxes/{agent['sandboxID']}"
    await write(platform, agent, "/home/user/broken", "yes")
    assert (await platform.api.post(f"{url}/pause", json={"memory": False})).status_code == 204
    for _ in range(2):
        refused = await platform.api.post(f"{url}/connect", json={"timeout": 60})
        assert (refused.status_code, refused.json()["error_code"]) == (424, "agent_failed")
        assert "broken" in refused.json()["details"]["output"]
        assert (await detail_of(platform, agent))["pauseMode"] == "filesystem"
    assert (await platform.api.post(f"{url}/reset", json={"timeout": 60})).status_code == 200
    assert (await platform.call(agent)).status_code == 200
    await kill(platform, agent)
