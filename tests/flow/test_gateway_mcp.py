"""Prefab functions as tools: a real client of the Model Context Protocol against the running gateway."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from mcp import MCPError

from support.mcp_tools import ACCEPT, META, TOOLS, client, error_of, other_key, publish_tools
from support.prefabs import KIT, function, manifest, pack, publish

if TYPE_CHECKING:
    import httpx

    from support.platform import Platform

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def tools(gateway: Platform) -> Platform:
    """The gateway with three versions of a prefab more."""
    return await publish_tools(gateway)


@pytest.mark.promise("mcp.tools", "mcp.calls")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_functions_are_tools(tools: Platform, mode: str) -> None:
    async with client(tools, mode=mode) as mcp:
        listed = {tool.name: tool for tool in (await mcp.list_tools()).tools}
        assert f"{KIT}__add" in listed
        assert f"{TOOLS}__tell" in listed
        found = await mcp.call_tool(f"{KIT}__add", {"a": 4, "b": 5})
    assert not found.is_error
    assert found.structured_content == {"sum": 9}
    assert found.content[0].type == "text"
    assert json.loads(found.content[0].text) == {"sum": 9}


@pytest.mark.promise("mcp.schemas")
async def test_schemas_are_the_manifests(tools: Platform) -> None:
    async with client(tools) as mcp:
        listed = {tool.name: tool for tool in (await mcp.list_tools()).tools}
        add, tell, read = listed[f"{KIT}__add"], listed[f"{TOOLS}__tell"], listed[f"{KIT}__read_inputs"]
        assert add.input_schema["required"] == ["a"]
        assert add.input_schema["additionalProperties"] is False
        assert add.input_schema["properties"]["b"]["type"] == "integer"
        assert read.input_schema["required"] == ["files"]
        assert read.input_schema["properties"]["files"]["properties"]["texts"]["maxItems"] == 3
        assert tell.output_schema is not None
        assert tell.output_schema["properties"]["version"]["anyOf"][0]["type"] == "string"
        assert tell.meta is not None
        assert tell.meta["sandyard/version"] == "2.0.0"
        assert tell.meta["sandyard/digest"].startswith("sha256:")
        found = await mcp.call_tool(f"{TOOLS}__tell", {"files": "a word"})
        assert found.structured_content == {"version": "2.0.0", "files": "a word", "error": None}
        lie = await mcp.call_tool(f"{TOOLS}__lie")
    assert error_of(lie)["error_code"] == "OUTPUT_INVALID"
    assert error_of(lie)["output"] == {"count": "many"}


@pytest.mark.promise("mcp.versions")
@pytest.mark.parametrize(("path", "version"), [("/mcp", "2.0.0"), ("/mcp/latest", "2.0.0"), ("/mcp/^1", "1.1.0"), ("/mcp/1.0.0", "1.0.0")])
async def test_an_alias_chooses_versions(tools: Platform, path: str, version: str) -> None:
    async with client(tools, path) as mcp:
        listed = {tool.name: tool for tool in (await mcp.list_tools()).tools}
        meta = listed[f"{TOOLS}__tell"].meta
        assert meta is not None
        assert meta["sandyard/version"] == version
        found = await mcp.call_tool(f"{TOOLS}__tell")
        assert found.structured_content is not None
        assert found.structured_content["version"] == version


@pytest.mark.promise("mcp.versions")
async def test_a_call_may_name_its_version(tools: Platform) -> None:
    async with client(tools) as mcp:
        found = await mcp.call_tool(f"{TOOLS}__tell", meta={"sandyard/version": "~1.0"})
        assert found.structured_content is not None
        assert found.structured_content["version"] == "1.0.0"
        for strange in ("9.0.0", "../1", 5):
            with pytest.raises(MCPError) as refused:
                await mcp.call_tool(f"{TOOLS}__tell", meta={"sandyard/version": strange})
            assert refused.value.code == -32602
    async with client(tools, "/mcp/7") as mcp:
        assert (await mcp.list_tools()).tools == []


@pytest.mark.promise("mcp.files")
async def test_files_go_in_and_out(tools: Platform) -> None:
    async with client(tools) as mcp:
        made = await mcp.call_tool(f"{KIT}__write_files", {"names": ["a.txt", "b.csv"]})
        links = {item.name: item for item in made.content if item.type == "resource_link"}
        assert len(links) == 2
        assert {link.mime_type for link in links.values()} == {"text/plain", "text/csv"}
        assert made.structured_content is not None
        urls = made.structured_content["files"]["output"]
        assert sorted(urls) == sorted(link.uri for link in links.values())
        assert all(url.startswith("s3://") for url in urls)
        read = await mcp.call_tool(f"{KIT}__read_inputs", {"files": {"texts": urls}})
        assert read.structured_content is not None
        assert sorted(read.structured_content["texts"]) == ["content of a.txt", "content of b.csv"]
        strange: list[Any] = [{}, {"texts": ["http://example.com/x"]}, {"texts": "s3://x"}, [], {"unknown": urls}]
        for files in strange:
            wrong = error_of(await mcp.call_tool(f"{KIT}__read_inputs", {"files": files}))
            assert wrong["error_code"] == "VALIDATION_ERROR", (files, wrong)
            assert wrong["pointer"].startswith("/files"), wrong


@pytest.mark.promise("mcp.progress")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_progress_is_told_while_a_function_runs(tools: Platform, mode: str) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with client(tools, mode=mode) as mcp:
        found = await mcp.call_tool(f"{TOOLS}__steps", {"upto": 3}, progress_callback=note)
    assert heard == [(1.0, 3.0, "step 1"), (2.0, 3.0, "step 2"), (3.0, 3.0, "step 3"), (4.0, None, "half an hour more")]
    assert found.structured_content == {"content": "0 1 2 ", "result": {"counted": 3}}


@pytest.mark.promise("mcp.calls")
@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [("boom", {"message": "told so"}, "FUNCTION_ERROR"), ("leave", {}, "WORKER_DIED"), ("mixed", {"kind": "error"}, "ITS_OWN")],
)
async def test_failures_are_errors_that_a_model_can_read(tools: Platform, name: str, arguments: dict[str, Any], code: str) -> None:
    async with client(tools) as mcp:
        assert error_of(await mcp.call_tool(f"{KIT}__{name}", arguments))["error_code"] == code


@pytest.mark.promise("mcp.arguments")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [({"a": 1, "undeclared": 1}, ""), ({"a": "1"}, "/a"), ({"a": True}, "/a"), ({}, ""), ({"a": 1, "files": {"x": []}}, "")],
)
async def test_wrong_arguments_are_refused(tools: Platform, mode: str, arguments: dict[str, Any], pointer: str) -> None:
    async with client(tools, mode=mode) as mcp:
        error = error_of(await mcp.call_tool(f"{KIT}__add", arguments))
    assert error["error_code"] == "VALIDATION_ERROR"
    assert error["pointer"] == pointer
    assert "/calls/0" not in json.dumps(error)


@pytest.mark.promise("mcp.tenants")
async def test_tools_of_another_tenant_are_not_there(tools: Platform) -> None:
    key = await other_key(tools, "mcp-stranger")
    source = "def mine() -> dict:\n    return {}\n"
    await publish(tools, pack(manifest("mcp-strangers", function("mine")), source), key=key)
    await publish(tools, pack(manifest("mcp-publics", function("mine")), source), key=key, visibility="public")
    async with client(tools) as mcp:
        names = {tool.name for tool in (await mcp.list_tools()).tools}
        assert "mcp-publics__mine" in names
        assert "mcp-strangers__mine" not in names
        said: list[tuple[int, str]] = []
        for name in ("mcp-strangers__mine", "mcp-not-there__mine", f"{KIT}__not_there", f"{KIT}____init__", "x", "__", ""):
            with pytest.raises(MCPError) as refused:
                await mcp.call_tool(name, {})
            said.append((refused.value.code, refused.value.message.replace(name, "") if name else refused.value.message))
        assert said == [(-32602, "Unknown tool: ")] * 7
        assert (await mcp.call_tool("mcp-publics__mine")).structured_content == {}
    async with client(tools, key=key) as mcp:
        names = {tool.name for tool in (await mcp.list_tools()).tools}
        assert "mcp-strangers__mine" in names
        assert f"{KIT}__add" not in names


_BODY: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


async def post(platform: Platform, body: Any = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await platform.api.post("/mcp", json=_BODY if body is None else body, headers=ACCEPT | named)


@pytest.mark.promise("mcp.identity", "mcp.bodies")
async def test_callers_are_known_as_everywhere(tools: Platform) -> None:
    for headers, status, code in (
        ({"X_API_Key": "sk-wrong"}, 401, "UNAUTHENTICATED"),
        ({"X_Internal_Token": "wrong"}, 401, "UNAUTHENTICATED"),
        ({"Origin": "http://evil.example"}, 403, "PERMISSION_DENIED"),
        ({"Content_Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ):
        reply = await post(tools, **headers)
        assert reply.status_code == status, (headers, reply.text)
        assert reply.json()["detail"]["error_code"] == code
        assert reply.json()["detail"]["request_id"] == reply.headers["x-request-id"]
    reply = await tools.api.post("/mcp/nonsense", json=_BODY, headers=ACCEPT)
    assert (reply.status_code, reply.json()["detail"]["error_code"]) == (422, "VALIDATION_ERROR")
    for path in ("/mcp/", "/mcp/1/2", "/mcpx"):
        assert (await tools.api.post(path, json=_BODY, headers=ACCEPT)).status_code == 404


@pytest.mark.promise("mcp.sessions")
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_sessions_are_nobodys(tools: Platform, method: str) -> None:
    headers = ACCEPT | {"Mcp-Session-Id": "0123456789abcdef0123456789abcdef"}
    reply = await tools.api.request(method, "/mcp", json=_BODY, headers=headers)
    assert reply.status_code == (404 if method == "POST" else 405)
    reply = await tools.api.get("/mcp", headers={"Accept": "text/event-stream"})
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")


@pytest.mark.promise("mcp.headers")
async def test_headers_say_what_the_body_says(tools: Platform) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": f"{KIT}__add", "arguments": {"a": 1}, "_meta": META}}
    version = {"MCP_Protocol_Version": "2026-07-28"}
    good = await post(tools, call, **version, Mcp_Method="tools/call", Mcp_Name=f"{KIT}__add")
    assert good.status_code == 200, good.text
    assert good.json()["result"]["structuredContent"] == {"sum": 3}
    for method, name in (("tools/list", f"{KIT}__add"), ("tools/call", f"{KIT}__boom")):
        reply = await post(tools, call, **version, Mcp_Method=method, Mcp_Name=name)
        assert reply.status_code == 400, reply.text
    assert (await post(tools, call, MCP_Protocol_Version="1999-01-01")).status_code == 400


@pytest.mark.promise("mcp.bodies")
@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        '{"jsonrpc":"2.0","id":1,"id":2}',
        '{"id":1e999}',
        '{"id":NaN}',
        '{"id":"\\ud800"}',
        '{"a":' * 100_000 + "1" + "}" * 100_000,
    ],
)
async def test_bodies_are_strict_json(tools: Platform, body: str) -> None:
    reply = await tools.api.post("/mcp", content=body.encode(), headers=ACCEPT | {"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == -32700


@pytest.mark.promise("mcp.bodies")
async def test_bodies_are_bounded(tools: Platform) -> None:
    headers = ACCEPT | {"Content-Type": "application/json"}
    large = await tools.api.post("/mcp", content=b" " * (9 * 2**20), headers=headers)
    assert (large.status_code, large.json()["detail"]["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    squeezed = await tools.api.post(
        "/mcp", content=gzip.compress(json.dumps(_BODY).encode()), headers=headers | {"Content-Encoding": "gzip"}
    )
    assert squeezed.status_code == 415
    for strange in ([], {}, {"jsonrpc": "2.0"}, [_BODY], 5):
        reply = await tools.api.post("/mcp", json=strange, headers=ACCEPT)
        assert 400 <= reply.status_code < 500, (strange, reply.text)


@pytest.mark.promise("mcp.pages")
async def test_long_lists_come_in_pages(tools: Platform) -> None:
    key = await other_key(tools, "mcp-pages")
    names = [f"f{number:02}" for number in range(90)]
    source = "".join(f"def {name}() -> dict:\n    return {{}}\n" for name in names)
    prefabs = [f"mcp-many-{number}" for number in range(3)]
    for prefab_id in prefabs:
        await publish(tools, pack(manifest(prefab_id, *map(function, names)), source), key=key)
    async with client(tools, key=key) as mcp:
        first = await mcp.list_tools()
        assert len(first.tools) == 200
        second = await mcp.list_tools(cursor=first.next_cursor)
        listed = [tool.name for tool in (*first.tools, *second.tools) if tool.name.startswith("mcp-many-")]
        assert listed == [f"{prefab_id}__{name}" for prefab_id in prefabs for name in names]
        assert second.next_cursor is None
        assert (await mcp.list_tools(cursor="\x00 nonsense")).next_cursor is not None
