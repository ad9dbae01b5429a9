"""The example prefabs, published and run by both clients against a real gateway: a film, a model server, a dictionary, a table."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import wave
from typing import TYPE_CHECKING, Any

import pytest

from gateway_sdk import (
    AgentContextRequiredError,
    AsyncGatewayClient,
    AuthenticationError,
    GatewayClient,
    MissingSecretError,
    PrefabCall,
    PrefabExecutionError,
    PrefabNotFoundError,
    PrefabResult,
    QuotaExceededError,
    StoredFileNotFoundError,
    ValidationError,
)
from support.gateways import PREFABS, Kind, allow_calls, face, make_clip, names_in, publish_examples, store_secret
from support.model_server import model_server
from support.platform import Platform, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]
KINDS: tuple[Kind, ...] = ("sync", "async")
TABLE = "region,product,units\nNorth,tea,3\nSouth,tea,4\nNorth,coffee,5\n"


@pytest.fixture(scope="module")
async def prefabs(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """A platform with all example prefabs, the model server allowed."""
    root = tmp_path_factory.mktemp("prefabs")
    with model_server("127.0.0.2") as model_url:
        address = model_url.removeprefix("http://").removesuffix("/v1")
        async with Platform(root / "data", "--egress-allow", address, backend="process") as platform:
            await publish_examples(platform, *names_in(PREFABS))
            await store_secret(platform, "llm-client", "OPENAI_BASE_URL", model_url)
            yield platform


async def upload(platform: Platform, file: Path) -> str:
    async with face("async", platform.api_url, api_key=platform.key) as client:
        return await client.call("upload_input_file", file)


@pytest.mark.promise("prefabs.examples", "gateway-sdk.uploads", "gateway-sdk.downloads")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_film_is_taken_apart(prefabs: Platform, kind: Kind, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "my film.mp4")
    async with face(kind, prefabs.api_url, api_key=prefabs.key) as client:
        url = await client.call("upload_input_file", clip, content_type="video/mp4")
        sound = await client.call("run", "video-processor", "1.0.0", "extract_audio", {"format": "wav"}, {"video": [url]})
        assert sound.is_success(), sound.error
        assert 1.5 < sound.get("seconds") < 2.5
        [audio] = sound.get_files()["audio"]
        await client.call("download_file", audio, tmp_path / "sound.wav")
        picture = await client.call("run", "video-processor", "^1", "extract_frame", {"at": 1, "width": 80}, {"video": [url]})
        [frame] = picture.get_files()["frame"]
        await client.call("download_file", frame, tmp_path / "frame.png")
        past = await client.call("run", "video-processor", "1.0.0", "extract_frame", {"at": 60}, {"video": [url]})
        assert isinstance(past.exception(), PrefabExecutionError)
        assert "no such part" in past.error["message"]
    assert sound_seconds(tmp_path / "sound.wav") == pytest.approx(2, abs=0.3)
    assert (tmp_path / "frame.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes((tmp_path / "frame.png").read_bytes()[16:20]) == 80


def sound_seconds(file: Path) -> float:
    with wave.open(str(file)) as sound:
        return sound.getnframes() / sound.getframerate()


@pytest.mark.promise("prefabs.examples", "gateway-sdk.platform")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_model_answers_word_by_word_with_the_caller_s_key(prefabs: Platform, kind: Kind) -> None:
    body = {"messages": [{"role": "user", "content": "Hello there, model"}]}
    async with face(kind, prefabs.api_url, api_key=prefabs.key) as client:
        await prefabs.api.delete("/v1/prefabs/llm-client/secrets/OPENAI_API_KEY")
        for streamed in (False, True):
            with pytest.raises(MissingSecretError) as caught:
                await asked(client, body, stream=streamed)
            assert (caught.value.prefab_id, caught.value.secret_name) == ("llm-client", "OPENAI_API_KEY")
            assert "platform.openai.com/api-keys" in caught.value.instructions
        await store_secret(prefabs, "llm-client", "OPENAI_API_KEY", "sk-model")
        whole = await asked(client, body, stream=False)
        assert whole.get("content") == "You asked: Hello there, model"
        events = await asked(client, body, stream=True)
        assert [event.type for event in events] == ["start", *["content"] * 5, "done"]
        assert "".join(event.data for event in events[1:-1]) == events[-1].data["content"] == "You asked: Hello there, model"


async def asked(client: Any, body: dict[str, Any], *, stream: bool) -> Any:
    if not stream:
        return await client.call("run", "llm-client", "1.0.0", "chat", body)
    if isinstance(client.client, GatewayClient):
        return await asyncio.to_thread(lambda: list(client.client.run("llm-client", "1.0.0", "chat", body, stream=True)))
    return [event async for event in client.client.run("llm-client", "1.0.0", "chat", body, stream=True)]


@pytest.mark.promise("prefabs.examples", "gateway-sdk.platform")
@pytest.mark.parametrize("kind", KINDS)
async def test_texts_are_translated_singly_chained_and_in_a_batch(prefabs: Platform, kind: Kind) -> None:
    async with face(kind, prefabs.api_url, api_key=prefabs.key) as client:
        one = await client.call("run", "translator", "latest", "translate", {"text": "Good morning, world!", "target": "de"})
        assert one.get("translation") == "Guten Morgen, Welt!"
        assert (await chained(client.client)).get("translation") == "bonjour monde"
        calls = [PrefabCall("translator", "1.0.0", "translate", {"text": word, "target": "zh"}) for word in ("Hello", "zebra")]
        batch = await client.call("run_batch", [*calls, PrefabCall("no-such-prefab", "1.0.0", "translate", {})])
        assert batch.status == "PARTIAL_SUCCESS"
        assert [result.get("translation") for result in batch.results] == ["你好", "zebra", None]
        assert batch.results[1].get("unknown") == ["zebra"]
        assert isinstance(batch.results[2].exception(), PrefabNotFoundError)
        assert {info.prefab_id for info in await client.call("list_prefabs")} == set(names_in(PREFABS))
        spec = await client.call("get_prefab_spec", "translator")
        assert {function["name"] for function in spec["functions"]} == {"translate", "languages"}


async def chained(client: GatewayClient | AsyncGatewayClient) -> PrefabResult:
    if isinstance(client, GatewayClient):
        return await asyncio.to_thread(client.prefab("translator", "1").call, "translate", text="你好世界", source="zh", target="fr")
    return await client.prefab("translator", "1").call("translate", text="你好世界", source="zh", target="fr")


@pytest.mark.promise("prefabs.examples")
async def test_a_table_becomes_parquet_a_chart_and_answers(prefabs: Platform, tmp_path: Path) -> None:
    table = tmp_path / "sales.csv"
    table.write_text(TABLE)
    async with face("async", prefabs.api_url, api_key=prefabs.key) as client:
        files = {"table": [await client.call("upload_input_file", table, "text/csv")]}
        made = await client.call("run", "table-tools", "1.0.0", "to_parquet", {}, files)
        assert made.is_success(), made.error
        assert (made.get("rows"), made.get("columns")) == (3, {"region": "VARCHAR", "product": "VARCHAR", "units": "BIGINT"})
        [parquet] = made.get_files()["parquet"]
        await client.call("download_file", parquet, tmp_path / "sales.parquet")
        drawn = await client.call("run", "table-tools", "1.0.0", "chart", {"x": "region", "y": "units"}, files)
        assert drawn.is_success(), drawn.error
        assert drawn.get("data") == [["North", 8], ["South", 4]]
        [chart] = drawn.get_files()["chart"]
        await client.call("download_file", chart, tmp_path / "chart.png")
        told = await client.call("run", "table-tools", "1.0.0", "query", {"sql": "SELECT sum(units) AS n FROM input"}, files)
        assert told.get("rows") == [{"n": 12}]
    content = (tmp_path / "sales.parquet").read_bytes()
    assert content[:4] == content[-4:] == b"PAR1"
    assert (tmp_path / "chart.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.promise("gateway-sdk.errors", "gateway-sdk.platform")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_real_gateway_s_refusals_are_the_documented_exceptions(prefabs: Platform, kind: Kind, tmp_path: Path) -> None:
    clip = tmp_path / "input.txt"
    clip.write_text("x")
    async with face(kind, prefabs.api_url, api_key=prefabs.key) as client:
        with pytest.raises(PrefabNotFoundError) as missing:
            await client.call("run", "no-such-prefab", "1.2.3", "f", {})
        assert (missing.value.prefab_id, missing.value.version) == ("no-such-prefab", "1.2.3")
        assert missing.value.request_id
        with pytest.raises(ValidationError) as wrong:
            await client.call("run", "translator", "1.0.0", "translate", {"text": "x", "target": "klingon"})
        assert wrong.value.pointer is not None
        with pytest.raises(AgentContextRequiredError):
            await client.call("upload_file", clip)
        url = await client.call("upload_input_file", clip)
        with pytest.raises((StoredFileNotFoundError, AuthenticationError)):
            await client.call("download_file", url.replace("input.txt", "other.txt"), tmp_path / "other.txt")
    async with face(kind, prefabs.api_url, internal_token="no-token") as client:
        with pytest.raises(AuthenticationError):
            await client.call("list_prefabs")
    owner = f"poor-{kind}"
    _, key, _ = await run("key", "create", owner, "--owner", owner, "--data-dir", str(prefabs.data_dir))
    await allow_calls(prefabs, owner, 0)
    async with face(kind, prefabs.api_url, api_key=key.strip()) as client:
        with pytest.raises(QuotaExceededError) as used_up:
            await client.call("run", "translator", "1.0.0", "languages", {})
        assert (used_up.value.limit, used_up.value.used, used_up.value.quota_type) == (0, 0, "calls")


@pytest.mark.promise("gateway-sdk.docs")
async def test_the_programs_of_the_page_run(prefabs: Platform) -> None:
    page = (PREFABS.parents[1] / "docs" / "gateway.md").read_text()
    await store_secret(prefabs, "llm-client", "OPENAI_API_KEY", "sk-model")
    env = {"PPIO_API_KEY": prefabs.key, "GATEWAY_BASE_URL": prefabs.api_url, "PYTHONUTF8": "1", "PYTHONWARNINGS": "error"}
    for name, said in (("translate", "你好,世界!\n"), ("chat", "You asked: Hello"), ("jobs", "1 0 progress\n2 None done\n你好,世界!\n")):
        program = PREFABS.parents[1] / "docs_src" / "gateway" / f"{name}.py"
        assert f"```python\n{program.read_text()}```" in page
        assert await asyncio.to_thread(printed, program, env) == said


def printed(program: Path, env: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, program], env=env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
