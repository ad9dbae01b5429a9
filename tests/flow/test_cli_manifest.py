"""`agent configure`, the manifest's mistakes, and what `deploy` does with both: a process and its two outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from support.cli import Cli
from support.fake_platform import BUILD_ID, TEMPLATE_ID, FakePlatform, answers, refused, template

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def platform() -> AsyncGenerator[FakePlatform]:
    async with FakePlatform() as fake:
        yield fake


@pytest.fixture
def cli(tmp_path: Path, platform: FakePlatform) -> Cli:
    return Cli(tmp_path, platform.environment)


@pytest.fixture
async def manifest(cli: Cli) -> None:
    assert (await cli("init", "--name", "my-agent")).code == 0


@pytest.mark.promise("cli.dockerfile")
async def test_init_writes_a_dockerfile(cli: Cli) -> None:
    assert (await cli("init", "--name", "my-agent", "--entrypoint", "app.py")).code == 0
    lines = (cli.here / "Dockerfile").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("FROM python:3.12-slim", 'CMD ["python", "app.py"]')
    assert "EXPOSE 8080" in lines


@pytest.mark.usefixtures("manifest")
@pytest.mark.promise("cli.configure")
async def test_options_change_what_they_name_and_nothing_else(cli: Cli) -> None:
    before = "# mine\n" + (cli.here / "agent.yaml").read_text()
    (cli.here / "agent.yaml").write_text(before)
    options = ["--version", "2.0", "--memory", "1Gi", "--cpu", "2", "--description", "Says: hello # to all", "--json"]
    ended = await cli("configure", *options)
    assert (ended.code, ended.json["metadata"]["version"]) == (0, "2.0")
    after = (cli.here / "agent.yaml").read_text()
    values = yaml.safe_load(after)
    assert (values["metadata"]["version"], values["metadata"]["description"]) == ("2.0", "Says: hello # to all")
    assert values["spec"]["runtime"] == {"timeout": 60, "memory_limit": "1Gi", "cpu_limit": "2"}
    changed = [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert len(changed) == 4


@pytest.mark.usefixtures("manifest")
@pytest.mark.promise("cli.configure")
async def test_what_is_not_there_is_added(cli: Cli) -> None:
    (cli.here / "agent.yaml").write_text(
        "metadata:  # who\n  name: a\n  version: '1'\n  author: x@example.com\nspec:\n  entrypoint: agent.py  # how\n"
    )
    assert (await cli("configure", "--timeout", "30", "--description", "new")).code == 0
    text = (cli.here / "agent.yaml").read_text()
    assert "metadata:  # who\n  description: new\n  name: a\n" in text
    assert "spec:\n  runtime:\n    timeout: 30\n  entrypoint: agent.py  # how\n" in text


@pytest.mark.usefixtures("manifest")
@pytest.mark.promise("cli.configure")
async def test_questions_are_asked_on_a_terminal(cli: Cli) -> None:
    shown = await cli.on_terminal("configure", typed="\n3.1.4\n\n\n\n90\n\n\n")
    assert "version" in shown
    values = yaml.safe_load((cli.here / "agent.yaml").read_text())
    assert (values["metadata"]["name"], values["metadata"]["version"], values["spec"]["runtime"]["timeout"]) == ("my-agent", "3.1.4", 90)
    ended = await cli("configure")
    assert (ended.code, "on a terminal only" in ended.err) == (2, True)


@pytest.mark.usefixtures("manifest")
@pytest.mark.promise("cli.interrupt")
async def test_a_question_ends_with_ctrl_c_and_changes_nothing(cli: Cli) -> None:
    before = (cli.here / "agent.yaml").read_text()
    assert "Traceback" not in await cli.on_terminal("configure", typed="other-name\n", interrupt_at="version [1.0.0]: ")
    assert (cli.here / "agent.yaml").read_text() == before


@pytest.mark.usefixtures("manifest")
@pytest.mark.promise("cli.configure", "cli.mistakes")
async def test_an_option_mends_the_field_that_was_wrong(cli: Cli) -> None:
    wrong = (cli.here / "agent.yaml").read_text().replace('cpu_limit: "1"', 'cpu_limit: "0.0"')
    (cli.here / "agent.yaml").write_text(wrong)
    ended = await cli("deploy", "--dry-run")
    assert (ended.code, "spec.runtime.cpu_limit: '0.0' should be a number of cores" in ended.err) == (2, True)
    assert (await cli("configure", "--cpu", "0.5")).code == 0
    (cli.here / "agent.yaml").write_text("metadata: [\n")
    ended = await cli("configure", "--cpu", "0.5")
    assert (ended.code, "agent.yaml:2:1: " in ended.err) == (2, True)


@pytest.mark.usefixtures("manifest")
@pytest.mark.promise("cli.configure", "cli.mistakes")
async def test_what_no_manifest_can_say_is_refused_and_not_written(cli: Cli) -> None:
    before = (cli.here / "agent.yaml").read_text()
    ended = await cli("configure", "--timeout", "7200")
    assert (ended.code, "agent.yaml:13:5: spec.runtime.timeout: " in ended.err) == (2, True)
    assert (cli.here / "agent.yaml").read_text() == before
    (cli.here / "agent.yaml").write_text("{metadata: {name: a, version: '1', author: x}, spec: {entrypoint: a.py}}\n")
    ended = await cli("configure", "--description", "new")
    assert (ended.code, "too unusual" in ended.err) == (2, True)


@pytest.mark.promise("cli.mistakes")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("metadata:\n  name: a\n  version: '1'\nspec:\n  entrypoint: a.py\n", "agent.yaml:1:1: metadata.author: it is missing"),
        (
            "metadata:\n  name: No Good\n  version: '1'\n  author: x\nspec:\n  entrypoint: a.js\n",
            "agent.yaml:2:3: metadata.name: 'No Good' should be 1 to 64 lower-case letters",
        ),
        ("metadata: {}\nspec:\n  entrypoint: a.js\n", "agent.yaml:3:3: spec.entrypoint: 'a.js' should be the path of a .py file"),
        (
            "metadata:\n  name: a\n  version: '1'\n  author: x\n  tags:\n    - a\n    - 7\nspec:\n  entrypoint: a.py\n",
            "agent.yaml:7:7: metadata.tags.1: text is wanted",
        ),
        ("kind: Agent\nspecs: {}\n", "agent.yaml:2:1: specs: there is no such field"),
        ("metadata:\n  name: [a\nspec:\n", "agent.yaml:3:5: "),
        ("", "agent.yaml:1:1: the file: a section of `key: value` lines is wanted"),
        ("- a\n", "agent.yaml:1:1: the file: a section of `key: value` lines is wanted"),
    ],
)
async def test_a_mistake_is_told_with_its_place(cli: Cli, text: str, told: str) -> None:
    (cli.here / "agent.yaml").write_text(text)
    ended = await cli("deploy", "--dry-run")
    assert (ended.code, told in ended.err) == (2, True), ended.err


@pytest.mark.usefixtures("manifest")
@pytest.mark.promise("cli.dry-run")
async def test_a_dry_run_lists_and_sends_nothing(cli: Cli, platform: FakePlatform) -> None:
    (cli.here / "notes.md").write_text("x")
    (cli.here / ".agentignore").write_text("*.md\n")
    before = (cli.here / "agent.yaml").read_text()
    ended = await cli("deploy", "--dry-run")
    assert (ended.code, ended.out.split()) == (0, ["agent.yaml", ".agentignore", "Dockerfile", "agent.py", "requirements.txt"])
    assert "nothing was sent" in ended.err
    asked = (await cli("deploy", "--dry-run", "--json")).json
    assert (asked["name"], asked["version"], len(asked["files"]), asked["size"] > 0) == ("my-agent", "1.0.0", 5, True)
    assert (platform.seen, (cli.here / "agent.yaml").read_text()) == ([], before)


@pytest.mark.usefixtures("manifest")
@pytest.mark.promise("cli.update-existing")
async def test_a_known_name_is_refused_where_that_is_asked_for(cli: Cli, platform: FakePlatform) -> None:
    deployed = answers({"templateID": TEMPLATE_ID, "buildID": BUILD_ID, "name": "my-agent", "tags": ["latest"]}, 202)
    platform.on("POST /agents", deployed)
    platform.on("GET /templates/my-agent", answers(template("my-agent")))
    ended = await cli("deploy", "--no-wait", "--no-update-existing")
    assert (ended.code, "there is a template my-agent already" in ended.err) == (2, True)
    assert platform.asked("POST /agents") == []
    assert (await cli("deploy", "--no-wait", "--update-existing", "--no-cache")).code == 0
    platform.on("GET /templates/my-agent", refused(404, "template_not_found"))
    assert (await cli("deploy", "--no-wait", "--no-update-existing")).code == 0
    assert len(platform.asked("POST /agents")) == 2
