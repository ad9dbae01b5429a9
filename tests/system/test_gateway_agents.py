"""An agent in a real sandbox is somebody at the gateway: by the token of its environment, under the gateway's own name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from support.callers import minted
from support.packages import write_agent
from support.platform import Platform
from support.prefabs import kit, publish

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

AGENT = """\
import json, os, pathlib, urllib.error, urllib.request
from gateway_sdk import GatewayClient

def ask(path, token=None, body=None):
    headers = {"X-Internal-Token": token or os.environ["X_INTERNAL_TOKEN"]}
    request = urllib.request.Request(os.environ["GATEWAY_BASE_URL"] + path, headers=headers, data=body)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code

def work(told):
    client = GatewayClient(internal_token=os.environ["X_INTERNAL_TOKEN"])
    result = client.run("test-kit", "1.0.0", "add", {"a": 1, "b": 2})
    pathlib.Path("/tmp/result.txt").write_text("made inside")
    stored = client.upload_file("/tmp/result.txt")
    client.download_file(stored["s3_url"], "/tmp/back.txt")
    return {
        "output": result.get_result(), "s3_url": stored["s3_url"], "back": pathlib.Path("/tmp/back.txt").read_text(),
        "listed": [file["s3_url"] for file in client.list_files()["files"]],
        "own_expired": ask("/v1/prefabs", told["own"]), "other_expired": ask("/v1/prefabs", told["other"]),
        "control_plane": [ask(path) for path in ("/sandboxes", "/templates", "/health", "/v2/sandboxes")],
    }

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    import asyncio
    try:
        answer = await asyncio.to_thread(work, json.loads(body))
    except Exception as error:
        answer = {"failed": repr(error)}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

if __name__ == "__main__":
    import uvicorn
    uvicorn.run(app, host="127.0.0.1", port=8080, log_level="warning")
"""


def expired(platform: Platform, sandbox: str) -> str:
    now = int(time.time())
    return minted(platform, agent="helper", sandbox=sandbox, iat=now - 400, exp=now - 100)


@pytest.mark.promise("gateway-agents.inside", "gateway-agents.renewed", "gateway-agents.only_gateway")
async def test_an_agent_calls_a_prefab_and_stores_a_file(tmp_path: Path) -> None:
    async with Platform(tmp_path / "data", backend="process") as platform:
        await publish(platform, kit())
        await platform.deploy(write_agent(tmp_path / "helper", "helper", AGENT))
        sandbox, other = await platform.create("helper"), await platform.create("helper")
        told = {"own": expired(platform, sandbox["sandboxID"]), "other": expired(platform, other["sandboxID"])}
        answer: dict[str, Any] = (await platform.call(sandbox, "/work", method="POST", json=told)).json()
        assert answer.get("failed") is None, answer
        assert answer["output"]["output"] == {"sum": 3}
        assert answer["s3_url"].startswith("s3://sandyard/agent-outputs/default/helper/")
        assert answer["back"] == "made inside"
        assert answer["listed"] == [answer["s3_url"]]
        assert answer["own_expired"] == 200
        assert answer["other_expired"] == 401
        assert set(answer["control_plane"]) == {404}
        outside = await platform.api.get("/v1/prefabs", headers={"X-Internal-Token": told["own"]})
        assert outside.json()["detail"]["reason"] == "TOKEN_EXPIRED"
        await platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")
        gone = minted(platform, agent="helper", sandbox=sandbox["sandboxID"])
        assert (await platform.api.get("/v1/prefabs", headers={"X-Internal-Token": gone})).status_code == 401
