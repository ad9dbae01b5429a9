"""Templates on a server that an ordinary user runs: what needs no root is built, what does says why it is not."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from e2b import AsyncSandbox, AsyncTemplate, BuildException

from support import as_user
from support.platform import Platform
from support.registry import Registry, host_layer, layer
from support.wheels import write_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2b.template.main import TemplateBuilder

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300), pytest.mark.promise("template.no_root")]

NEEDS_ROOT: list[Callable[[TemplateBuilder], TemplateBuilder]] = [
    lambda build: build.apt_install("hello"),
    lambda build: build.run_cmd("apt-get install --yes hello"),
    lambda build: build.set_user("root").run_cmd("true"),
    lambda build: build.pip_install("six"),
]
HAS_PIP = Path("/usr/bin/pip").exists()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of the user's; pytest's own lie where only root may look."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            os.chown(name, as_user.USER, as_user.USER)
        yield Path(name)


@pytest.mark.parametrize("wrapper", [[], ["unshare", "--user", "--map-root-user"]], ids=["plain", "as root of a user namespace"])
async def test_steps_are_carried_out_without_root(directory: Path, wrapper: list[str]) -> None:
    context = directory / "context"
    (context / "tree").mkdir(parents=True)
    (context / "tree" / "file").write_text("copied\n")
    write_wheel(context / "tree", "greeting", "print('imported')")
    started = _server(directory, wrapper)
    async with Registry() as registry, Platform(directory / "data", "--registry", registry.host, backend="process", **started) as platform:
        options: dict[str, Any] = {"api_key": platform.key, "api_url": platform.api_url, "sandbox_url": platform.sandbox_url}
        begun = AsyncTemplate(file_context_path=context).from_template("base")
        build = begun.set_envs({"GREETING": "hello"}).set_workdir("/home/user/app").copy("tree", "code/", mode=0o750)
        build = build.pip_install("code/greeting-1-py3-none-any.whl", g=False) if HAS_PIP else build
        build = build.run_cmd("echo $GREETING > made; id -un >> made").run_cmd("ln -s /usr/bin/env /usr/local/bin/surroundings")
        await AsyncTemplate.build(build, "plain", **options)
        async with await AsyncSandbox.create("plain", **options) as sandbox:
            found = await sandbox.commands.run("pwd; cat made code/file; stat -c '%U %a' code/file; surroundings | grep GREETING")
            if HAS_PIP:
                assert (await sandbox.commands.run("/usr/bin/python3 -m greeting")).stdout == "imported\n"
        assert found.stdout.split() == ["/home/user/app", "hello", "user", "copied", "user", "750", "GREETING=hello"]
        await _build_from_image(registry, options)
        for asking in NEEDS_ROOT:
            with pytest.raises(BuildException, match=r"the sandboxes of this server have no root.*pip install --user"):
                await AsyncTemplate.build(asking(AsyncTemplate().from_template("base")), "refused", **options)


async def _build_from_image(registry: Registry, options: dict[str, Any]) -> None:
    architecture = "arm64" if os.uname().machine == "aarch64" else "amd64"
    registry.push("team/tool", [host_layer(), layer(("etc/motd", b"from the image\n"))], architecture=architecture)
    build = AsyncTemplate().from_image(f"{registry.host}/team/tool").set_workdir("/srv/made").run_cmd("cat /etc/motd > file; id -un")
    await AsyncTemplate.build(build, "imaged", **options)
    async with await AsyncSandbox.create("imaged", **options) as sandbox:
        assert (await sandbox.commands.run("pwd; cat file")).stdout.splitlines() == ["/srv/made", "from the image"]


def _server(directory: Path, wrapper: list[str]) -> dict[str, Any]:
    """Return how the server is started: as another user where these tests are root's."""
    if os.geteuid() != 0:
        if wrapper:
            pytest.skip("root has this test")
        return {}
    return {"program": [*as_user.program(*wrapper), "-m", "sandyard"], "environ": as_user.environment(directory)}
