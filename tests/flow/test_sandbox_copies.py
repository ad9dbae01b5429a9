"""Files and processes of sandboxes on the process back end: paused, saved, forked, reset."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from support.inside import detail_of, kill, read, states_of, write
from support.packages import ECHO, write_agent
from support.platform import Platform, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


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
