"""`fromImage`, from a registry of the test's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from e2b import AsyncSandbox, AsyncTemplate, BuildException

from support.platform import Platform
from support.registry import Registry, by_zstd, host_layer, layer, special

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.uname().machine != "x86_64", reason="the test's image is for amd64")]


PASSWORD = "pw-5f3c9e71b2"


@pytest.fixture(scope="module")
async def registry() -> AsyncGenerator[Registry]:
    async with Registry(login=("reader", PASSWORD)) as serving:
        yield serving


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> AsyncGenerator[Platform]:
    data = tmp_path_factory.mktemp("images") / "data"
    async with Platform(data, "--registry", registry.host, backend="process") as running:
        yield running


def options(server: Platform) -> dict[str, Any]:
    return {"api_key": server.env["E2B_API_KEY"], "api_url": server.api_url, "sandbox_url": server.sandbox_url}


@pytest.mark.promise("template.image")
async def test_a_template_is_built_from_an_image(server: Platform, registry: Registry) -> None:
    upper = by_zstd(layer(("etc/motd", b"from the image\n"), special("usr/bin/.wh.touch", b"0")))
    registry.push("team/tool", [host_layer(), upper], env={"FLAVOUR": "plain", "PATH": "/usr/bin:/opt/bin"})
    template = AsyncTemplate().from_image(f"{registry.host}/team/tool", username="reader", password=PASSWORD)
    told: list[str] = []
    build = template.set_workdir("/srv").run_cmd('echo "$FLAVOUR" > made; ls /usr/bin > programs')
    await AsyncTemplate.build(build, "imaged", on_build_logs=lambda entry: told.append(entry.message), **options(server))
    assert any(line.startswith("Pulling ") for line in told)
    sandbox = await AsyncSandbox.create("imaged", **options(server))
    reply = await sandbox.commands.run("cat /etc/motd made; id -un; pwd; echo $FLAVOUR $PATH; ls /usr/bin/git /usr/bin/touch; true")
    await sandbox.kill()
    assert reply.stdout.splitlines() == ["from the image", "plain", "user", "/srv", "plain /usr/bin:/opt/bin"]
    assert reply.stderr.count("No such file") == 2
    told.clear()
    again = AsyncTemplate().from_image(f"{registry.host}/team/tool", username="reader", password=PASSWORD).run_cmd("id -un > who")
    await AsyncTemplate.build(again, "imaged-again", on_build_logs=lambda entry: told.append(entry.message), **options(server))
    assert not any(line.startswith("Pulling ") for line in told), "the image is here already"
    assert not [line for line in server.log.read_text().splitlines() if PASSWORD in line]
    assert PASSWORD.encode() not in (server.data_dir / "sandyard.db").read_bytes() + (server.data_dir / "sandyard.db-wal").read_bytes()


@pytest.mark.promise("template.image", "template.image_hostile")
@pytest.mark.parametrize(
    ("image", "login", "reason"),
    [
        ("{host}/team/tool", None, "check the image's name and the login"),
        ("{host}/team/tool", ("reader", "wrong"), "check the image's name and the login"),
        ("{host}/team/nothing", ("reader", PASSWORD), "has no image"),
        ("{host}/team/lying", ("reader", PASSWORD), "sent other bytes than sha256:"),
        ("{host}/team/foreign", ("reader", PASSWORD), "only for linux/s390x, linux/riscv64"),
        ("127.0.0.1:1/team/tool", None, "--registry 127.0.0.1:1"),
        ("localhost/team/tool", None, "has no public address"),
        ("10.1.2.3/team/tool", None, "is not a public address"),
        ("not an image", None, "is not the name of an image"),
    ],
)
async def test_what_cannot_be_pulled_says_why(
    server: Platform, registry: Registry, image: str, login: tuple[str, str] | None, reason: str
) -> None:
    data = layer(("file", os.urandom(32)))
    registry.push("team/tool", [data])
    registry.push("team/foreign", [data], architecture="riscv64")
    registry.push("team/lying", [lie := layer(("file", os.urandom(32)))])
    for digest, blob in list(registry.blobs.items()):
        if blob == lie:
            registry.blobs[digest] = b"something else"
    user, password = login or (None, None)
    template = AsyncTemplate().from_image(image.format(host=registry.host), username=user, password=password)
    with pytest.raises(BuildException) as caught:
        await AsyncTemplate.build(template, "unpullable", **options(server))
    assert reason in str(caught.value)
    assert not list((server.data_dir / "images").glob("draft-*"))
