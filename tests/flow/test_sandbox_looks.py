"""What sandboxes on the process back end use, print and reach."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from support.inside import detail_of, kill, write
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


@pytest.fixture
async def base(process_platform: Platform) -> AsyncGenerator[dict[str, Any]]:
    created = await process_platform.create("base", metadata={"k": "v"}, envVars={"GREETING": "hi"})
    yield created
    await kill(process_platform, created)


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


@pytest.mark.promise("sandboxes.own-limits")
async def test_a_sandbox_and_its_copies_have_the_limits_that_were_asked_for(process_platform: Platform, base: dict[str, Any]) -> None:
    platform = process_platform
    most = (await detail_of(platform, base))["memoryMB"]
    small, large = await platform.create("base", memoryMB=96, cpuCount=0.5), await platform.create("base", memoryMB=10**6)
    fork = (await platform.api.post(f"/sandboxes/{small['sandboxID']}/fork", json={"timeout": 60})).json()[0]["sandbox"]
    assert [(await detail_of(platform, one))["memoryMB"] for one in (small, fork, large)] == [96, 96, most]
    used = (await platform.api.get(f"/sandboxes/{fork['sandboxID']}/metrics")).json()
    assert used[-1]["memTotal"] == 96 << 20
    for one in (small, fork, large):
        await kill(platform, one)


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
