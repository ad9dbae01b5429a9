"""Templates built by steps through the real e2b client, and sandboxes of them."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import e2b
import pytest
from e2b import AsyncSandbox, AsyncTemplate, BuildException, Template

from support.platform import Platform
from support.wheels import write_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from e2b import BuildInfo, LogEntry

pytestmark = pytest.mark.anyio

HAS_PIP = Path("/usr/bin/pip").exists()


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with Platform(tmp_path_factory.mktemp("steps") / "data", backend="process") as running:
        yield running


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    (directory / "src" / "deep").mkdir(parents=True)
    (directory / "a.txt").write_text("first\n")
    (directory / "b.txt").write_text("second\n")
    (directory / "src" / "main.py").write_text("print('main')\n")
    (directory / "src" / "deep" / "data").write_bytes(bytes(range(256)))
    (directory / "src" / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (directory / "src" / "run.sh").chmod(0o755)
    (directory / "src" / "link").symlink_to("main.py")
    return directory


def options(server: Platform) -> dict[str, Any]:
    """Return what points a client at the platform without its environment."""
    return {"api_key": server.env["E2B_API_KEY"], "api_url": server.api_url, "sandbox_url": server.sandbox_url}


async def build(server: Platform, template: Any, name: str, **fields: Any) -> BuildInfo:
    return await AsyncTemplate.build(template, name, **fields, **options(server))


async def run(server: Platform, name: str, command: str, *, user: str | None = None, cwd: str | None = None) -> str:
    """Create a sandbox of a template, run a command in it and return what it prints."""
    sandbox = await AsyncSandbox.create(name, **options(server))
    try:
        return (await sandbox.commands.run(command, user=user, cwd=cwd)).stdout
    finally:
        await sandbox.kill()


@pytest.mark.promise("template.steps", "template.v3_flow")
async def test_steps_are_carried_out_and_kept(server: Platform, context: Path) -> None:
    lines: list[LogEntry] = []
    template = (
        AsyncTemplate(file_context_path=context)
        .from_base_image()
        .set_envs({"GREETING": "good day", "OTHER": "x=y"})
        .set_workdir("/srv/app")
        .copy("a.txt", "renamed.txt")
        .run_cmd('echo "$GREETING" > made.txt')
        .run_cmd("touch /usr/local/by-root", user="root")
    )
    info = await build(server, template, "kept", on_build_logs=lines.append)
    assert info.tags == ["default"]
    told = [line.message for line in lines]
    assert '[4/5] RUN echo "$GREETING" > made.txt' in told
    out = await run(server, "kept", "pwd; whoami; cat renamed.txt made.txt; stat -c %U /usr/local/by-root made.txt; echo $GREETING $OTHER")
    assert out.split("\n") == ["/srv/app", "user", "first", "good day", "root", "user", "good day x=y", ""]


@pytest.mark.promise("template.copy")
async def test_files_are_copied_as_a_dockerfile_would(server: Platform, context: Path) -> None:
    template = (
        AsyncTemplate(file_context_path=context)
        .from_base_image()
        .copy("src", "/opt/tree")
        .copy("*.txt", "/opt/many/")
        .copy("a.txt", "/opt/exact", mode=0o640)
        .copy("b.txt", "/opt/rooted", user="root")
    )
    await build(server, template, "copied")
    script = """cd /opt && cat tree/link many/a.txt many/b.txt && tree/run.sh && sha256sum < tree/deep/data
    stat -c '%a %U:%G' exact rooted tree/run.sh"""
    out = await run(server, "copied", script)
    assert out.splitlines()[:4] == ["print('main')", "first", "second", "ran"]
    assert out.splitlines()[4].startswith("40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880")
    assert out.splitlines()[5:] == ["640 user:user", "644 root:root", "755 user:user"]


@pytest.mark.promise("template.user")
async def test_the_last_user_and_directory_are_the_defaults(server: Platform) -> None:
    template = AsyncTemplate().from_base_image().set_user("root").set_workdir("/var/tmp/deep").run_cmd("id -un > who")
    await build(server, template, "rooted")
    assert await run(server, "rooted", "id -un; pwd; cat who") == "root\n/var/tmp/deep\nroot\n"
    assert await run(server, "rooted", "id -un; pwd", user="user", cwd="/") == "user\n/\n"


@pytest.mark.promise("template.failed_step")
async def test_a_failed_step_is_named_with_its_code_and_last_lines(server: Platform) -> None:
    template = AsyncTemplate().from_base_image().run_cmd("true").run_cmd("echo before; echo why >&2; exit 7").run_cmd("true")
    with pytest.raises(BuildException) as caught:
        await build(server, template, "fails")
    message = str(caught.value)
    assert "Step 2 of 3" in message
    assert "exit code 7" in message
    assert "why" in message
    view = (await server.api.get("/templates/fails")).json()
    status = (await server.api.get(f"/templates/fails/builds/{view['buildID']}/status")).json()
    assert (status["status"], status["reason"]["step"]) == ("error", "2")
    assert "why" in [entry["message"] for entry in status["reason"]["logEntries"]]
    refused = await server.api.post("/v2/sandboxes", json={"templateID": "fails"})
    assert (refused.status_code, refused.json()["error_code"]) == (409, "template_not_ready")


@pytest.mark.promise("template.from_template", "template.layers")
async def test_a_template_is_built_from_another_and_from_its_own_earlier_steps(server: Platform) -> None:
    parent = AsyncTemplate().from_base_image().set_envs({"LEVEL": "1"}).run_cmd("date +%N > stamp")
    await build(server, parent, "parent")
    stamp = await run(server, "parent", "cat stamp")
    child = AsyncTemplate().from_template("parent").run_cmd("echo child >> stamp")
    await build(server, child, "child")
    assert await run(server, "child", "cat stamp; echo $LEVEL") == f"{stamp}child\n1\n"
    lines: list[LogEntry] = []
    longer = AsyncTemplate().from_base_image().set_envs({"LEVEL": "1"}).run_cmd("date +%N > stamp").run_cmd("echo longer >> stamp")
    await build(server, longer, "parent", on_build_logs=lines.append)
    assert any(line.message.startswith("CACHED: the first 2 of 3 steps") for line in lines)
    assert await run(server, "parent", "cat stamp") == f"{stamp}longer\n"
    await build(server, longer, "parent", skip_cache=True)
    assert await run(server, "parent", "cat stamp") != f"{stamp}longer\n"


@pytest.mark.promise("template.tags", "template.aliases", "template.listed", "template.deleted")
async def test_tags_and_aliases(server: Platform) -> None:
    first = await build(server, AsyncTemplate().from_base_image().run_cmd("echo one > v"), "tagged:v1", tags=["stable"])
    assert first.tags == ["v1", "stable"]
    second = await build(server, AsyncTemplate().from_base_image().run_cmd("echo two > v"), "tagged:v2")
    assert await run(server, "tagged:stable", "cat v") == "one\n"
    moved = await AsyncTemplate.assign_tags("tagged:v2", ["stable", "next"], **options(server))
    assert moved.build_id.replace("-", "") == second.build_id
    assert await run(server, "tagged:stable", "cat v") == "two\n"
    tags = {tag.tag: tag.build_id.replace("-", "") for tag in await AsyncTemplate.get_tags("default/tagged", **options(server))}
    assert tags == {"v1": first.build_id, "v2": second.build_id, "stable": second.build_id, "next": second.build_id}
    await AsyncTemplate.remove_tags("tagged", ["next", "stable"], **options(server))
    with pytest.raises(e2b.SandboxException, match="no tag 'next'"):
        await AsyncSandbox.create("tagged:next", **options(server))
    assert await AsyncTemplate.exists("tagged", **options(server))
    assert await AsyncTemplate.exists("default/tagged", **options(server))
    assert await AsyncTemplate.exists("base", **options(server))
    assert not await AsyncTemplate.exists("tagged-not", **options(server))
    listed = (await server.api.get("/v2/templates", params={"limit": 1})).json()
    assert [(item["names"][0], item["buildStatus"], item["buildCount"]) for item in listed] == [("tagged", "ready", 2)]
    page = (await server.api.get("/v2/templates", params={"page": 1, "limit": 1}, headers={"publisher": "ppio"})).json()
    assert (page["templates"][0]["names"][0], page["page"], page["limit"]) == ("tagged", 1, 1)
    assert page["totalPages"] == page["total"] >= 1
    assert (await server.api.delete("/templates/tagged:v1")).status_code == 204
    assert (await server.api.get("/templates/tagged:v1")).status_code == 404
    assert await run(server, "tagged", "cat v") == "two\n"
    gone = await server.api.delete("/templates/tagged")
    assert gone.status_code == 204
    assert not await AsyncTemplate.exists("tagged", **options(server))


@pytest.mark.promise("template.sync_client")
async def test_the_synchronous_builder_works_as_well(server: Platform, context: Path) -> None:
    template = Template(file_context_path=context).from_base_image().copy("a.txt", "/home/user/").run_cmd("tr a-z A-Z < a.txt > b.txt")
    info = await asyncio.to_thread(Template.build, template, "by-sync", cpu_count=1, memory_mb=300, **options(server))
    view = (await server.api.get(f"/templates/{info.template_id}")).json()
    assert (view["cpuCount"], view["memoryMB"]) == (1, 300)
    sandbox = await server.create("by-sync")
    detail = (await server.api.get(f"/sandboxes/{sandbox['sandboxID']}")).json()
    assert detail["memoryMB"] == 300
    refused = await server.api.delete(f"/templates/{info.template_id}")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "conflict")
    await server.api.delete(f"/sandboxes/{sandbox['sandboxID']}")
    assert await run(server, "by-sync", "cat b.txt") == "FIRST\n"


@pytest.mark.promise("template.start_cmd")
async def test_create_answers_when_the_start_command_is_ready(server: Platform) -> None:
    start = "echo starting; sleep 0.5; touch /tmp/ready; exec sleep 600"
    template = AsyncTemplate().from_base_image().set_start_cmd(start, "test -e /tmp/ready")
    await build(server, template, "started")
    assert await run(server, "started", "ls /tmp/ready; pgrep -c -f 'sleep 600'") == "/tmp/ready\n1\n"


@pytest.mark.promise("template.start_cmd")
async def test_a_start_command_that_fails_fails_the_build(server: Platform) -> None:
    template = AsyncTemplate().from_base_image().set_start_cmd("echo no such luck; exit 3", "false")
    with pytest.raises(BuildException, match=r"start command exited with code 3.*no such luck"):
        await build(server, template, "unstartable")


@pytest.mark.promise("template.background")
async def test_a_build_in_the_background_is_followed_by_offset(server: Platform) -> None:
    template = AsyncTemplate().from_base_image().run_cmd("for i in $(seq 250); do echo line $i; done")
    info = await AsyncTemplate.build_in_background(template, "background", **options(server))
    seen: list[str] = []
    async with asyncio.timeout(60):
        while True:
            status = await AsyncTemplate.get_build_status(info, logs_offset=len(seen), **options(server))
            assert len(status.log_entries) <= 100
            seen += [entry.message for entry in status.log_entries]
            if status.status.value == "ready" and not status.log_entries:
                break
            await asyncio.sleep(0.05)
    assert [line for line in seen if line.startswith("line ")] == [f"line {i}" for i in range(1, 251)]


@pytest.mark.promise("template.root_installs")
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("dpkg-deb"), reason="needs a server of root's, and Debian's tools")
async def test_packages_are_installed_where_there_is_a_root(server: Platform, context: Path) -> None:
    package = context / "package"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "usr" / "bin").mkdir(parents=True)
    (package / "usr" / "bin" / "greet").write_text("#!/bin/sh\necho greetings\n")
    (package / "usr" / "bin" / "greet").chmod(0o755)
    control = "Package: greet\nVersion: 1\nArchitecture: all\nMaintainer: Tests <tests@example.com>\nDescription: greets\n"
    (package / "DEBIAN" / "control").write_text(control)
    build_package = ["dpkg-deb", "--build", "--root-owner-group", str(package), str(context / "greet.deb")]
    process = await asyncio.create_subprocess_exec(*build_package, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    wheel = write_wheel(context, "greeting", "print('imported')").name
    template = AsyncTemplate(file_context_path=context).from_base_image().copy("greet.deb", "/tmp/").copy(wheel, "/tmp/")
    template = template.run_cmd("apt-get install -y /tmp/greet.deb", user="root")
    await build(server, template.pip_install(f"/tmp/{wheel}") if HAS_PIP else template, "installed")
    assert await run(server, "installed", "greet; dpkg -s greet | grep Status") == "greetings\nStatus: install ok installed\n"
    if HAS_PIP:
        assert await run(server, "installed", "/usr/bin/python3 -m greeting") == "imported\n"
    assert not shutil.which("greet"), "nothing of it came to the host"
