"""Where the gateway's samples are played: a platform with the example prefabs, an agent whose token callers use, files, other tenants."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway_sdk import AsyncGatewayClient
from seeds.blocks import HERE
from seeds.gateway_register import PLACEHOLDERS
from seeds.stage import played
from support.gateways import allow_calls, make_clip, publish_examples, store_secret
from support.packages import write_agent
from support.platform import run, until

if TYPE_CHECKING:
    from pathlib import Path

    from seeds.kinds import Play
    from support.platform import Platform

USED = ("translator", "llm-client", "video-processor")
AGENT = '''
import json

async def app(scope, receive, send):
    """Answers with the token by which it may call the gateway."""
    if scope["type"] != "http":
        return
    token = dict(scope["headers"]).get(b"x-internal-token", b"").decode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps({"token": token}).encode()})

if __name__ == "__main__":
    import uvicorn
    uvicorn.run(app, host="127.0.0.1", port=8080, log_level="warning")
'''


@dataclass(frozen=True, slots=True)
class GatewayStage:
    """A platform that is ready for samples. `keys` are by tenant: default's, `stranger` (whose model server has no such page), `newcomer` (without
    secrets), `poor` (without calls).
    """

    platform: Platform
    keys: dict[str, str]
    sandbox: dict[str, str]
    clip: Path
    urls: dict[str, str]

    @classmethod
    async def make(cls, platform: Platform, model_url: str, directory: Path) -> GatewayStage:
        """Publish, store secrets and files, make keys."""
        await publish_examples(platform, *USED)
        keys = {"default": platform.key} | {name: await _key(platform, name) for name in ("stranger", "newcomer", "poor")}
        for owner, url in (("default", model_url), ("stranger", f"{model_url}/nowhere"), ("poor", model_url)):
            for name, value in (("OPENAI_API_KEY", "sk-model"), ("OPENAI_BASE_URL", url)):
                await store_secret(platform, "llm-client", name, value, key=keys[owner])
        await allow_calls(platform, "poor", 0)
        await platform.deploy(write_agent(directory / "caller", "caller", AGENT))
        sandbox = await platform.create("caller", timeout=3600)
        clip, result = make_clip(directory / "video.mp4"), directory / "result.pdf"
        result.write_bytes(b"the result")
        stage = cls(platform, keys, sandbox, clip, {})
        async with AsyncGatewayClient(await stage.token(), platform.api_url) as client:
            stage.urls["SAMPLES_VIDEO"] = await client.upload_input_file(clip)
            stage.urls["SAMPLES_RESULT"] = (await client.upload_file(result))["s3_url"]
        return stage

    async def token(self) -> str:
        """Return a fresh token of the agent's."""
        return (await self.platform.call(self.sandbox)).json()["token"]

    async def play(self, source: str, play: Play, scratch: Path) -> tuple[int, str, str]:
        """Run a sample as a program; return exit code, standard output, standard error."""
        for printed, own in PLACEHOLDERS.items():
            source = source.replace(printed, own)
        for name, text in (("before.py", play.before), ("sample.py", source), ("after.py", play.after)):
            (scratch / name).write_text(text, encoding="utf-8")
        files = scratch / "tmp"
        files.mkdir()
        for name in ("video.mp4", "input.mp4"):
            shutil.copy(self.clip, files / name)
        for name in ("result.pdf", "intermediate.jpg"):
            (files / name).write_bytes(b"the result")
        return await played(scratch, "prelude_gateway.py", env={**await self._environment(), "SAMPLES_TMP": str(files)}, cwd=scratch)

    async def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(HERE.parent),
            "PYTHONWARNINGS": "error",
            "PYTHONUTF8": "1",
            "GATEWAY_BASE_URL": self.platform.api_url,
            "X_INTERNAL_TOKEN": await self.token(),
            "PPIO_API_KEY": self.platform.key,
            **{f"{name.upper()}_KEY": key for name, key in self.keys.items()},
            **self.urls,
        }


async def _key(platform: Platform, owner: str) -> str:
    code, out, err = await run("key", "create", owner, "--owner", owner, "--data-dir", str(platform.data_dir))
    assert code == 0, err
    key = out.strip()

    async def known() -> bool:
        return (await platform.api.get("/templates", headers={"X-API-Key": key})).status_code == 200

    await until(known)
    return key
