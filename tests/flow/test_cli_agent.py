"""`ppio-sandbox-cli agent …` as people and programs run it: a process, its two outputs, its exit code."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import tarfile
from typing import TYPE_CHECKING

import pytest
import yaml

from support.cli import Cli
from support.fake_platform import BUILD_ID, TEMPLATE_ID, Answer, FakePlatform, answers, created, detail, never, refused, streams, template

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

ENVELOPE = {"result": "hello", "status": "success", "duration": 0.5}
LOGS = f"/templates/{TEMPLATE_ID}/builds/{BUILD_ID}/logs"
DEPLOYMENT = answers({"templateID": TEMPLATE_ID, "buildID": BUILD_ID, "name": "my-agent", "tags": ["latest"]}, 202)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
async def platform() -> AsyncGenerator[FakePlatform]:
    async with FakePlatform() as fake:
        fake.on("POST /sandboxes", created())
        fake.on("DELETE /sandboxes/i1", answers(status=204))
        fake.on("POST /agents", DEPLOYMENT)
        fake.on(f"GET {LOGS}", followed(["resolving", "installing"], "ready"))
        yield fake


@pytest.fixture
def cli(tmp_path: Path, platform: FakePlatform) -> Cli:
    return Cli(tmp_path, platform.environment)


@pytest.fixture
async def agent_dir(cli: Cli) -> Path:
    ended = await cli("init", "mine", "--name", "my-agent")
    assert ended.code == 0
    return cli.here / "mine"


def entry(number: int, message: str) -> bytes:
    return f"data: {json.dumps({'number': number, 'timestamp': '2026-01-01T00:00:00Z', 'message': message})}\n\n".encode()


def end(status: str, **reason: str) -> bytes:
    phase = {"ready": "deployed", "error": "failed"}[status]
    value = {"templateID": TEMPLATE_ID, "buildID": BUILD_ID, "status": status, "phase": phase, "reason": reason or None}
    return f"event: end\ndata: {json.dumps(value)}\n\n".encode()


def followed(lines: list[str], status: str, **reason: str) -> Answer:
    return streams(*[entry(number, line) for number, line in enumerate(lines)], end(status, **reason))


def uploaded(platform: FakePlatform) -> dict[str, bytes]:
    (asked,) = platform.asked("POST /agents")
    with tarfile.open(fileobj=io.BytesIO(asked.body), mode="r:gz") as tar:
        members = {member.name: tar.extractfile(member) for member in tar.getmembers() if member.isfile()}
        assert len(members) == len(tar.getmembers())
        return {name: file.read() for name, file in members.items() if file is not None}


# --- init


@pytest.mark.promise("cli.init")
async def test_init_writes_what_deploy_takes_and_overwrites_nothing(cli: Cli) -> None:
    (cli.here / "app.py").write_text("mine = True\n")
    ended = await cli("init", "--name", "my-agent", "--entrypoint", "app.py", "--json")
    assert (ended.code, ended.json["written"]) == (0, ["agent.yaml", "requirements.txt", "Dockerfile"])
    assert (cli.here / "app.py").read_text() == "mine = True\n"
    assert yaml.safe_load((cli.here / "agent.yaml").read_text())["spec"]["entrypoint"] == "app.py"
    again = await cli("init")
    assert again.code == 2
    assert "is there already" in again.err
    ended = await cli("init", "app.py")
    assert (ended.code, "error: app.py: File exists" in ended.err) == (2, True)


@pytest.mark.promise("cli.init")
async def test_init_writes_names_that_yaml_would_read_as_something_else(cli: Cli) -> None:
    ended = await cli("init", "my agents/2024", "--author", "Jane: #1", "--entrypoint", "it's.py")
    assert (ended.code, "agent deploy 'my agents/2024'\n" in ended.err) == (0, True)
    metadata = yaml.safe_load((cli.here / "my agents/2024/agent.yaml").read_text())["metadata"]
    assert (metadata["name"], metadata["author"]) == ("2024", "Jane: #1")
    assert (cli.here / "my agents/2024/Dockerfile").read_text().endswith('CMD ["python", "it\'s.py"]\n')
    assert (await cli("deploy", "my agents/2024", "--dry-run")).code == 0


@pytest.mark.promise("cli.init")
@pytest.mark.parametrize("options", [["--name", "No Good"], ["--entrypoint", "../agent.py"], ["--entrypoint", "agent.js"]])
async def test_init_refuses_what_no_manifest_can_say(cli: Cli, options: list[str]) -> None:
    assert (await cli("init", *options)).code == 2
    assert not (cli.here / "agent.yaml").exists()


# --- deploy


@pytest.mark.promise("cli.deploy")
async def test_deploy_packs_uploads_follows_and_writes_back(cli: Cli, platform: FakePlatform, agent_dir: Path) -> None:
    before = "# my own comment\n" + (agent_dir / "agent.yaml").read_text()
    (agent_dir / "agent.yaml").write_text(before)
    ended = await cli("deploy", "mine", "--tag", "v2", "--tag", "beta")
    assert (ended.code, ended.out) == (0, f"{TEMPLATE_ID}\n")
    assert ended.err.index("resolving") < ended.err.index("installing") < ended.err.index("deployed my-agent")
    assert sorted(uploaded(platform)) == ["Dockerfile", "agent.py", "agent.yaml", "requirements.txt"]
    (asked,) = platform.asked("POST /agents")
    assert (asked.query, asked.headers["content-type"]) == ({"tags": ["v2,beta"]}, "application/gzip")
    after = (agent_dir / "agent.yaml").read_text()
    assert after.startswith(before)
    status = yaml.safe_load(after)["status"]
    assert (status["phase"], status["template_id"], status["build_id"]) == ("deployed", TEMPLATE_ID, BUILD_ID)


@pytest.mark.promise("cli.status")
async def test_a_second_deploy_replaces_the_status_and_nothing_else(cli: Cli, agent_dir: Path) -> None:
    text = (agent_dir / "agent.yaml").read_text()
    parts = text.split("\nspec:")
    old = "\n# kept by the system\nstatus:\n  phase: failed\n\n# the rest\nspec:"
    (agent_dir / "agent.yaml").write_text(parts[0] + old + parts[1])
    assert (await cli("deploy", "mine")).code == 0
    after = (agent_dir / "agent.yaml").read_text()
    assert after.count("status:") == 1
    assert "# kept by the system\nstatus:\n  phase: deployed\n" in after
    assert after.endswith("\n\n# the rest\nspec:" + parts[1])


@pytest.mark.promise("cli.json")
async def test_deploy_for_programs(cli: Cli, agent_dir: Path) -> None:
    ended = await cli("deploy", str(agent_dir), "--json")
    assert ended.json == {
        "template_id": TEMPLATE_ID,
        "build_id": BUILD_ID,
        "name": "my-agent",
        "tags": ["latest"],
        "phase": "deployed",
        "reason": None,
    }


@pytest.mark.promise("cli.deploy-fails")
async def test_a_failed_build_tells_the_reason_and_its_last_lines(cli: Cli, platform: FakePlatform, agent_dir: Path) -> None:
    platform.on(f"GET {LOGS}", followed(["ERROR: nope==1"], "error", message="no such package", output="ERROR: nope==1"))
    ended = await cli("deploy", "mine", "--json")
    assert (ended.code, ended.json["phase"], ended.json["reason"]["output"]) == (5, "failed", "ERROR: nope==1")
    assert ended.err.count("ERROR: nope==1") == 1, "what was followed is not told twice"
    assert "no such package" in ended.err
    assert yaml.safe_load((agent_dir / "agent.yaml").read_text())["status"]["phase"] == "failed"


@pytest.mark.promise("cli.deploy-fails")
async def test_a_log_that_breaks_is_taken_up_where_it_was(cli: Cli, platform: FakePlatform, agent_dir: Path) -> None:
    halves = [streams(entry(0, "first"), entry(1, "second")), streams(entry(2, "third"), end("ready"))]
    platform.on(f"GET {LOGS}", *halves)
    ended = await cli("deploy", str(agent_dir))
    assert ended.code == 0
    assert [ended.err.count(word) for word in ("first", "second", "third")] == [1, 1, 1]
    assert [asked.query["offset"] for asked in platform.asked(f"GET {LOGS}")] == [["0"], ["2"]]


@pytest.mark.promise("cli.deploy")
async def test_deploy_without_waiting(cli: Cli, platform: FakePlatform, agent_dir: Path) -> None:
    assert (await cli("deploy", "mine", "--no-wait")).code == 0
    assert platform.asked(f"GET {LOGS}") == []
    assert yaml.safe_load((agent_dir / "agent.yaml").read_text())["status"]["phase"] == "pending"


@pytest.mark.promise("cli.packing")
async def test_what_never_belongs_to_an_agent_stays_here(cli: Cli, platform: FakePlatform, agent_dir: Path) -> None:
    for name in (".git/config", "__pycache__/a.pyc", ".venv/bin/python", "node_modules/x.js", "notes.md", "data/big.bin", "data/small.csv"):
        (agent_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (agent_dir / name).write_text(name)
    (agent_dir / ".agentignore").write_text("# mine\n*.md\n/data/*.bin\n")
    (agent_dir / "linked.csv").symlink_to("data/small.csv")
    assert (await cli("deploy", "mine")).code == 0
    files = uploaded(platform)
    assert sorted(files) == [".agentignore", "Dockerfile", "agent.py", "agent.yaml", "data/small.csv", "linked.csv", "requirements.txt"]
    assert files["linked.csv"] == b"data/small.csv"


@pytest.mark.promise("cli.packing")
async def test_a_link_out_of_the_directory_is_refused(cli: Cli, platform: FakePlatform, agent_dir: Path) -> None:
    (cli.here / "secret").write_text("secret")
    (agent_dir / "link").symlink_to(cli.here / "secret")
    ended = await cli("deploy", "mine")
    assert ended.code == 2
    assert "link out of the directory" in ended.err
    (agent_dir / "link").unlink()
    (agent_dir / "folder").symlink_to(cli.here)
    assert (await cli("deploy", "mine")).code == 2
    assert platform.seen == []


@pytest.mark.promise("cli.usage")
async def test_a_directory_that_is_no_agent_is_wrong_usage(cli: Cli, agent_dir: Path) -> None:
    assert "there is no agent.yaml" in (await cli("deploy")).err
    (agent_dir / "agent.py").unlink()
    ended = await cli("deploy", "mine")
    assert (ended.code, "the entrypoint agent.py" in ended.err) == (2, True)
    (agent_dir / "agent.yaml").write_text("kind: Agent\nspec: {}\n")
    ended = await cli("deploy", "mine")
    assert (ended.code, "metadata: it is missing" in ended.err) == (2, True)


# --- invoke


@pytest.mark.promise("cli.invoke")
async def test_invoke_prints_what_the_agent_returned(cli: Cli, platform: FakePlatform) -> None:
    platform.on("POST /invocations", answers(ENVELOPE), answers({"n": [1, 2]}), answers(ENVELOPE))
    ended = await cli("invoke", "hello", "--input", "hi")
    assert (ended.code, ended.out) == (0, "hello\n")
    assert json.loads((await cli("invoke", "--template-id", "hello", "--json-input", "-", stdin='{"a": 1}')).out) == {"n": [1, 2]}
    assert platform.asked("POST /invocations")[1].json == {"a": 1}
    whole = (await cli("invoke", "hello", "hi", "--json")).json
    assert (whole["result"], whole["duration"], whole["sandbox_id"]) == ("hello", 0.5, "i1")
    assert len(platform.asked("DELETE /sandboxes/i1")) == 3


@pytest.mark.promise("cli.stream")
async def test_invoke_streams_chunks_as_they_come(cli: Cli, platform: FakePlatform) -> None:
    platform.on("POST /invocations", streams(b'data: "one "\n\n', b'data: "two"\n\n'))
    assert (await cli("invoke", "hello", "hi", "--stream")).out == "one two\n"
    lines = (await cli("invoke", "hello", "hi", "--stream", "--json")).out.splitlines()
    assert [json.loads(line) for line in lines] == [{"chunk": "one "}, {"chunk": "two"}]


@pytest.mark.promise("cli.stream")
async def test_a_stream_that_is_cut_is_a_failure(cli: Cli, platform: FakePlatform) -> None:
    platform.on("POST /invocations", streams(b'data: "one "\n\n', cut=True))
    ended = await cli("invoke", "hello", "hi", "--stream")
    assert (ended.code, "was cut off" in ended.err) == (1, True)


@pytest.mark.promise("cli.invoke")
async def test_a_session_is_named_or_kept(cli: Cli, platform: FakePlatform) -> None:
    platform.on("GET /sandboxes/i1", answers(detail()))
    platform.on("POST /invocations", answers(ENVELOPE))
    assert "--session i1" in (await cli("invoke", "hello", "hi", "--keep")).err
    assert (await cli("invoke", "--session", "i1", "hi")).out == "hello\n"
    assert platform.asked("DELETE /sandboxes/i1") == []
    assert (await cli("invoke", "--session", "i9", "--input", "hi")).code == 4


@pytest.mark.promise("cli.invoke")
async def test_the_template_comes_from_the_manifest_here(cli: Cli, platform: FakePlatform, agent_dir: Path) -> None:
    platform.on("POST /invocations", answers(ENVELOPE))
    (cli.here / "agent.yaml").write_text((agent_dir / "agent.yaml").read_text())
    assert (await cli("invoke", "--input", "hi")).code == 0
    assert platform.asked("POST /sandboxes")[0].json["templateID"] == "my-agent"


@pytest.mark.promise("cli.exit-codes")
@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [
        (refused(401, "unauthenticated", "the API key is not known"), 3, "not known (request req-1)"),
        (refused(404, "template_not_found", "there is no hello"), 4, "there is no hello"),
        (
            refused(424, "agent_failed", "the agent exited", exit_code=3, output="ImportError: x"),
            1,
            "ImportError: x\nerror: the agent exited",
        ),
        (refused(503, "unavailable", "full"), 1, "full"),
    ],
)
async def test_a_failure_is_a_sentence_and_a_code(cli: Cli, platform: FakePlatform, answer: Answer, code: int, word: str) -> None:
    platform.on("POST /sandboxes", answer)
    ended = await cli("invoke", "hello", "hi", "--json")
    assert (ended.code, ended.json["request_id"]) == (code, "req-1")
    assert word in ended.err


@pytest.mark.promise("cli.usage")
@pytest.mark.parametrize(
    "options", [[], ["--input", "a", "--json-input", "{}"], ["--json-input", "[1]"], ["--json-input", "{"], ["--no-such"]]
)
async def test_wrong_usage_is_code_2(cli: Cli, platform: FakePlatform, options: list[str]) -> None:
    assert (await cli("invoke", "hello", *options)).code == 2
    assert platform.seen == []


@pytest.mark.promise("cli.hint")
async def test_without_a_key_or_a_platform_the_sentence_says_what_to_run(tmp_path: Path) -> None:
    ended = await Cli(tmp_path, {})("list")
    assert (ended.code, 'eval "$(sandyard env)"' in ended.err, ended.out) == (3, True, "")
    ended = await Cli(tmp_path, {"PPIO_API_KEY": "sk-example", "PPIO_API_URL": "http://127.0.0.1:1"})("list")
    assert (ended.code, "cannot connect to http://127.0.0.1:1" in ended.err) == (1, True)


@pytest.mark.promise("cli.interrupt")
async def test_an_interrupted_call_ends_its_session(cli: Cli, platform: FakePlatform) -> None:
    platform.on("POST /invocations", never)
    process = await cli.start("invoke", "hello", "hi")
    await platform.until(lambda: platform.asked("POST /invocations"))
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
    assert platform.left == 1
    assert len(platform.asked("DELETE /sandboxes/i1")) == 1


@pytest.mark.promise("cli.interrupt", "cli.status")
async def test_an_interrupted_build_goes_on_and_the_manifest_knows(cli: Cli, platform: FakePlatform, agent_dir: Path) -> None:
    platform.on(f"GET {LOGS}", never)
    process = await cli.start("deploy", "mine")
    await platform.until(lambda: platform.asked(f"GET {LOGS}"))
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert (process.returncode, b"agent logs --build my-agent" in err) == (130, True)
    assert yaml.safe_load((agent_dir / "agent.yaml").read_text())["status"]["phase"] == "building"


# --- list, logs, delete


@pytest.mark.promise("cli.list")
async def test_list(cli: Cli, platform: FakePlatform) -> None:
    platform.on("GET /templates", answers([template("hello"), template("other", "failed")]))
    ended = await cli("list")
    assert (ended.code, [line.split()[0] for line in ended.out.splitlines()]) == (0, ["name", "hello", "other"])
    assert [item["name"] for item in (await cli("list", "--json", "--name", "OTH")).json] == ["other"]


@pytest.mark.promise("cli.terminal")
async def test_a_narrow_terminal_shows_one_agent_a_line(cli: Cli, platform: FakePlatform) -> None:
    platform.on("GET /templates", answers([template("hello"), template("other", "failed")]))
    lines = _ESCAPES.sub("", await cli.on_terminal("list")).splitlines()
    assert [line.split()[0] for line in lines] == ["name", "hello", "other"]
    assert max(map(len, lines)) <= 80
    assert all(TEMPLATE_ID in line for line in lines[1:])


@pytest.mark.promise("cli.terminal")
async def test_a_terminal_shows_life_while_one_waits_and_nothing_of_it_afterwards(cli: Cli, platform: FakePlatform) -> None:
    await cli("init", "my-agent")
    platform.on(f"GET {LOGS}", followed(["resolving", " + httpx==1.0", " + " + "x" * 100], "ready"))
    shown = await cli.on_terminal("deploy", "my-agent")
    assert "building my-agent" in shown
    pieces = [_ESCAPES.sub("", piece).strip() for piece in re.split(r"\x1b\[2K|[\r\n]", shown)]
    assert "resolving" in pieces, "a line of its own, not what is left of a spinner before it"
    assert "httpx" not in shown


@pytest.mark.promise("cli.harmless")
async def test_what_an_agent_wrote_does_not_steer_the_terminal(cli: Cli, platform: FakePlatform) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b2J\ttab"
    platform.on("GET /sandboxes/i1/logs", answers({"logs": [{"timestamp": "2026-01-01T00:00:00Z", "line": hostile}]}))
    shown = await cli.on_terminal("logs", "i1")
    assert "\\x1b]0;owned\\x07\\x1b[2J\\x9b2J" in shown
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    as_json = await cli.on_terminal("logs", "i1", "--json")
    assert not {"\x1b", "\x07", "\x9b"} & set(as_json)
    assert json.loads(as_json)["line"] == hostile
    process = await cli.start("logs", "i1")
    assert (await asyncio.wait_for(process.communicate(), 30))[0].decode() == hostile + "\n"


@pytest.mark.promise("cli.exit-codes")
async def test_an_agent_s_exception_is_told_with_its_class(cli: Cli, platform: FakePlatform) -> None:
    failed = {"result": None, "status": "error", "duration": 0.1, "error": "'nope'", "error_type": "KeyError"}
    platform.on("POST /invocations", answers(failed, 500))
    ended = await cli("invoke", "hello", "--input", "x")
    assert ended.code == 1
    assert "error: KeyError: 'nope'" in ended.err


@pytest.mark.promise("cli.logs")
async def test_logs_of_a_session_and_of_a_build(cli: Cli, platform: FakePlatform) -> None:
    platform.on("GET /sandboxes/i1/logs", answers({"logs": [{"timestamp": "2026-01-01T00:00:00Z", "line": "started"}]}))
    assert (await cli("logs", "i1")).out == "started\n"
    platform.on("GET /templates/hello", answers(template()))
    assert (await cli("logs", "--build", "hello")).out == "resolving\ninstalling\n"
    platform.on(f"GET {LOGS}", followed(["resolving"], "error", message="nope"))
    assert (await cli("logs", "--build", "hello")).code == 5
    assert (await cli("logs", "i9")).code == 4


@pytest.mark.promise("cli.delete")
async def test_delete(cli: Cli, platform: FakePlatform) -> None:
    platform.on("GET /templates/hello", answers(template()))
    platform.on(f"DELETE /templates/{TEMPLATE_ID}", answers(status=204))
    assert (await cli("delete", "hello", "--json")).json == {"deleted": TEMPLATE_ID, "name": "hello"}
    platform.on("GET /templates/hello", refused(404, "template_not_found"))
    assert (await cli("delete", "hello", "--yes")).code == 4
