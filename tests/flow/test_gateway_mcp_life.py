"""Tools that are called and taken back, and news of them: a real client of the Model Context Protocol against the running gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from support.mcp_tools import ACCEPT, META, TOOLS, client, other_key, publish_tools
from support.prefabs import KIT, function, manifest, pack, publish, result

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def tools(gateway: Platform) -> Platform:
    """The gateway with three versions of a prefab more."""
    return await publish_tools(gateway)


@pytest.mark.promise("mcp.cancel")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_leaves_ends_its_call(tools: Platform, mode: str) -> None:
    mark = f"mcp-{mode}"
    async with client(tools, mode=mode) as mcp:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await mcp.call_tool(f"{KIT}__nap", {"seconds": 2.5, "mark": mark})
    await result(tools, KIT, "nap", {"seconds": 3.0})
    assert mark not in (await result(tools, KIT, "marks"))["output"]["output"]["marks"]


@pytest.mark.promise("mcp.cancel")
@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
async def test_a_posted_cancellation_ends_the_callers_own_call(tools: Platform, version: str) -> None:
    stranger = await other_key(tools, f"mcp-canceller-{version}")
    headers = ACCEPT | {"MCP-Protocol-Version": version}
    named = headers | {"Mcp-Method": "tools/call", "Mcp-Name": f"{TOOLS}__drag"}
    call = {"jsonrpc": "2.0", "id": f"drag-{version}", "method": "tools/call"}
    params = {"name": f"{TOOLS}__drag", "arguments": {}, "_meta": META | {"progressToken": 1}}

    async def cancel(request_id: object, **more: str) -> None:
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
        reply = await tools.api.post("/mcp", json=note, headers=headers | {name.replace("_", "-"): value for name, value in more.items()})
        assert reply.status_code == 202, reply.text

    async with asyncio.timeout(30), tools.api.stream("POST", "/mcp", json=call | {"params": params}, headers=named) as reply:
        messages = (json.loads(line[6:]) async for line in reply.aiter_lines() if line.startswith("data: "))
        assert (await anext(messages))["method"] == "notifications/progress"
        await cancel(call["id"], X_API_Key=stranger)
        await cancel(call["id"], User_Agent="another program")
        await cancel("another")
        assert (await anext(messages))["params"]["progress"] == 2
        await cancel(call["id"])
        rest = [message async for message in messages]
    assert rest[-1]["error"]["code"] == -32800
    assert len(rest) < 20, "the function went on"


@pytest.mark.promise("mcp.news")
async def test_a_client_that_listens_is_told_of_its_own_tools(tools: Platform) -> None:
    key = await other_key(tools, "mcp-newcomer")
    package = pack(manifest("mcp-news", function("mine")), "def mine() -> dict:\n    return {}\n")
    async with client(tools) as mcp, client(tools, key=key) as other, asyncio.timeout(60):
        assert mcp.server_capabilities.tools is not None
        assert mcp.server_capabilities.tools.list_changed
        async with mcp.listen(tools_list_changed=True) as news, other.listen(tools_list_changed=True) as others:
            await publish(tools, package, key=key)
            await anext(aiter(others))
            assert "mcp-news__mine" in {tool.name for tool in (await other.list_tools(cache_mode="bypass")).tools}
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await anext(aiter(news))
            await publish(tools, package, key=key, visibility="public")
            await anext(aiter(news))
            assert "mcp-news__mine" in {tool.name for tool in (await mcp.list_tools(cache_mode="bypass")).tools}
            reply = await tools.api.delete("/v1/prefabs/mcp-news/1.0.0", headers={"X-API-Key": key})
            assert reply.status_code == 200, reply.text
            await anext(aiter(news))
            assert "mcp-news__mine" not in {tool.name for tool in (await mcp.list_tools(cache_mode="bypass")).tools}
