"""Seed 003: its samples served as they stand, its commands run as they stand."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from agentapps.models import Fault
from agentapps.samples import MODEL_ADDRESS, SAMPLES, TOOLS_ADDRESS
from agentapps.serving import BIN, free_port, message, project, served
from agentapps.tool_server import TESTS, tool_server
from seeds.blocks import DOCUMENTS, blocks_of

if TYPE_CHECKING:
    from pathlib import Path

    from agentapps.models import ModelServer

pytestmark = pytest.mark.anyio

BLOCKS = {block.key: block for path in DOCUMENTS for block in blocks_of(path) if block.document == "003"}


def written(directory: Path, key: str, models: str, tools: str) -> Path:
    """Write the sample's project: YAML and Python as printed, with the tests' addresses for the document's."""
    sample = SAMPLES[key]
    config = BLOCKS[sample.config].printed.replace("models:\n", "models:\n" + sample.more_models, 1)
    config = config.replace(MODEL_ADDRESS, models).replace(TOOLS_ADDRESS, tools)
    return project(directory, sample.before + BLOCKS[key].source + sample.after, config)


@pytest.mark.promise("agentapp.seed-samples")
def test_each_python_block_is_played() -> None:
    assert list(SAMPLES) == [key for key, block in BLOCKS.items() if block.language == "python"]


@pytest.mark.promise("agentapp.seed-samples")
@pytest.mark.parametrize("key", SAMPLES)
async def test_a_sample_is_served_and_answers(key: str, models: ModelServer, tmp_path: Path) -> None:
    sample = SAMPLES[key]
    async with tool_server("sse", free_port()) as tools:
        directory = written(tmp_path, key, models.openai, tools.url)
        async with served(directory, OPENAI_API_KEY="your-api-key") as app:
            for text, expected in sample.asked:
                assert await app.ask(text, "test_session", **sample.metadata) == expected
            chunks = await app.chunks(message(sample.asked[0][0], "other", **sample.metadata))
            assert chunks[-1]["metadata"] == {"done": True}
    await checked(key, models, tmp_path)


async def checked(key: str, models: ModelServer, directory: Path) -> None:
    """Look at what a sample must have done besides answering."""
    if key in ("003:83", "003:179"):
        said = [part for one in models.requests for part in str(one["messages"]).split("'") if part in ("Hello", "one", "two", "again")]
        assert said.count(SAMPLES[key].asked[0][0]) > len(SAMPLES[key].asked), "later prompts hold what was said before"
    if key == "003:205":
        assert (directory / "new-sessions").read_text() == "test_session other "
    if key == "003:241":
        assert models.said("warmup")


@pytest.mark.promise("agentapp.seed-samples")
async def test_the_sample_on_errors_tells_the_error(models: ModelServer, tmp_path: Path) -> None:
    async with served(written(tmp_path, "003:223", models.openai, ""), OPENAI_API_KEY="your-api-key") as app:
        models.faults.append(Fault(400))
        *_, told, _done = await app.chunks(message("Hello"))
        assert told["content"].startswith("Error: ")
        assert told["metadata"] == {"error": True, "chunk": True}


@pytest.mark.promise("agentapp.seed-commands")
async def test_the_commands_of_the_document_do_what_it_says(tmp_path: Path) -> None:
    """All of them in one shell, in a network of their own: the document's ports are fixed."""
    if shutil.which("curl") is None or shutil.which("unshare") is None:
        pytest.fail("the document's commands need curl, and a network of their own needs unshare")
    make, run, debug = (block.printed for block in BLOCKS.values() if block.language == "bash")
    files = {"agentapp.yaml": BLOCKS["003:23"].printed.replace(MODEL_ADDRESS, "http://127.0.0.1:81/v1"), "app.py": BLOCKS["003:35"].source}
    writes = "\n".join(f"cat > {name} <<'END'\n{text}END" for name, text in files.items())
    ask = debug.partition("# 测试请求")[2]
    verbose, other = (line for line in debug.partition("# 测试请求")[0].splitlines() if line.startswith("agentscope"))
    ready = "for i in $(seq 300); do curl -s localhost:{0}/health && break; sleep 0.1; done"
    script = "\n".join(
        [
            "set -e",
            make,
            writes,
            f"{sys.executable} -m agentapps.one_model 81 &",
            "models=$!",
            run.replace("agentscope run .", "agentscope run . & app=$!"),
            ready.format(8080),
            f"echo; echo ASKED; ( {ask} )",
            "kill $app; wait $app",
            f"{verbose} & app=$!",
            ready.format(8080),
            "kill $app; wait $app",
            f"{other} & app=$!",
            ready.format(9000),
            "kill $app; wait $app; kill $models; echo; echo ENDED",
        ]
    )
    inside = "import fcntl, os, socket, struct, sys; s = socket.socket(); fcntl.ioctl(s, 0x8914, struct.pack('16sH14x', b'lo', 0x1 | 0x40)); os.execvp('bash', ['bash', '-c', sys.argv[1]])"
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-c", inside, script]
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "ignore"}
    with anyio.fail_after(100):
        done = await anyio.run_process(command, cwd=tmp_path, env=environment, check=False)
    out = done.stdout.decode()
    assert "ENDED" in out, done.stderr.decode()[-3000:] + out
    answer = out.partition("ASKED")[2]
    assert '"content":"Hello"' in answer
    assert '"done":true' in answer
    assert "listens on http://127.0.0.1:9000" in done.stderr.decode()
