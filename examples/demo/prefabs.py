"""The chapter about prefabs: published, run, in a batch, streamed with a secret that is missing first, with a file, against a quota."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from examples.demo.host import BIN, run

from gateway_sdk import AsyncGatewayClient, MissingSecretError, PrefabCall, QuotaExceededError

if TYPE_CHECKING:
    from examples.demo.chapters import Stage

EXAMPLES = Path(__file__).resolve().parents[1]
PUBLISHED = ("translator", "llm-client", "video-processor")
CLIP = Path(__file__).with_name("clip.mp4")
GREETINGS = ("Hello", "Good morning", "Thank you, my friend")


async def prefabs(stage: Stage) -> None:
    """Tell it."""
    stage.story.chapter("Prefabs: functions behind a gateway")
    for name in PUBLISHED:
        with stage.story.step(f"sandyard prefab publish examples/prefabs/{name}"):
            told = await _sandyard(stage, "prefab", "publish", str(EXAMPLES / "prefabs" / name))
        stage.story.check("is deployed" in told, told.split(" (")[0])
    async with AsyncGatewayClient(api_key=stage.env["PPIO_API_KEY"], base_url=stage.env["PPIO_API_URL"]) as client:
        await _call(stage, client)
        await _batch(stage, client)
        await _secret(stage, client)
        await _file(stage, client)
        await _quota(stage, client)


async def _call(stage: Stage, client: AsyncGatewayClient) -> None:
    for attempt in ("in a new sandbox", "in the same one, in a process of its own"):
        with stage.story.step(f"run('translator', '^1', 'translate', …), {attempt}"):
            result = await client.run("translator", "^1", "translate", {"text": "Hello, world!", "target": "zh"})
    stage.story.check(result.get("translation") == "你好,世界!", f"It answers: {result.get('translation')}")


async def _batch(stage: Stage, client: AsyncGatewayClient) -> None:
    calls = [PrefabCall("translator", "1.0.0", "translate", {"text": text, "target": "fr"}) for text in GREETINGS]
    with stage.story.step("run_batch(): three calls, and one of a prefab that is not there"):
        batch = await client.run_batch([*calls, PrefabCall("nobody", "1.0.0", "nothing", {})])
    said = [result.get("translation") for result in batch.results[:3]]
    stage.story.check(
        all(said) and not batch.results[3].is_success(), f"In their order: {', '.join(map(str, said))}; the fourth failed alone"
    )


async def _secret(stage: Stage, client: AsyncGatewayClient) -> None:
    question = {
        "messages": [{"role": "user", "content": "Say hello to the reader"}],
        "model": stage.model.get("OPENAI_MODEL", "gpt-4o-mini"),
    }
    try:
        await client.run("llm-client", "1.0.0", "chat", question)
    except MissingSecretError as error:
        stage.story.check(error.secret_name == "OPENAI_API_KEY", f"Without its secret it is refused: {error}")  # noqa: S105 (its name)
        stage.story.quote(error.instructions)
    else:
        stage.story.check(holds=False, sentence="A call without its secret must be refused")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        if name in stage.model:
            await _sandyard(stage, "prefab", "secrets", "set", "llm-client", name, told=stage.model[name])
    stage.story.console.print("   ", end="")
    words: list[str] = []
    last = ""
    async for event in client.run("llm-client", "1.0.0", "chat", question, stream=True):
        last = event.type
        if last == "content":
            words.append(event.data)
            stage.story.token(event.data)
    stage.story.console.print()
    stage.story.check(len(words) > 1 and last == "done", f"With it, the answer streamed in {len(words)} pieces")


async def _file(stage: Stage, client: AsyncGatewayClient) -> None:
    with stage.story.step(f"upload_input_file('clip.mp4'): {CLIP.stat().st_size // 1024} KiB"):
        url = await client.upload_input_file(CLIP, "video/mp4")
    with stage.story.step("run('video-processor', …, 'extract_audio'): real ffmpeg"):
        result = await client.run("video-processor", "1.0.0", "extract_audio", {"format": "mp3"}, {"video": [url]})
    stage.story.check(result.is_success(), f"It gives {result.get('seconds')} seconds of sound")
    target = stage.platform.data_dir.parent / "sound.mp3"
    with stage.story.step("download_file()"):
        await client.download_file(result.get_files()["audio"][0], target)
    head = target.read_bytes()[:3]
    stage.story.check(head == b"ID3", f"An mp3 of {target.stat().st_size // 1024} KiB has come back")


async def _quota(stage: Stage, client: AsyncGatewayClient) -> None:
    await _sandyard(stage, "quota", "set", "2", "--per", "ever", "--prefab", "translator")
    calls = [client.run("translator", "1.0.0", "translate", {"text": "yes", "target": "de"}) for _ in range(6)]
    with stage.story.step("Six calls at once against a quota of two"):
        done = await asyncio.gather(*calls, return_exceptions=True)
    refused = [error for error in done if isinstance(error, QuotaExceededError)]
    stage.story.check(len(refused) == 4, f"Two ran, four were refused: {refused[0] if refused else 'none'}")


async def _sandyard(stage: Stage, *words: str, told: str | None = None) -> str:
    return await run(str(BIN / "sandyard"), *words, "--data-dir", str(stage.platform.data_dir), env=dict(os.environ), told=told)
