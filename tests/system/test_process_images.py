"""Sandboxes of an image's file system, with or without anything in it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sandyard.backends.process import interpreter
from sandyard.domain.specs import Limits, Mount, SandboxSpec
from support.sandboxes import PROBE, Rig, rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path
    from typing import Any

# ruff: noqa: ASYNC240 (temporary directories do not block)
pytestmark = pytest.mark.anyio

ROOT = os.geteuid() == 0
LIMITS = Limits(memory_bytes=512 << 20, disk_bytes=64 << 20, processes=64)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig(tmp_path) as made:
        yield made


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image that holds next to nothing: no C library, no shell, no /proc."""
    image = tmp_path / "image"
    (image / "etc").mkdir(parents=True)
    (image / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\nnode:x:1000:1000::/:/bin/sh\n")
    (image / "etc/group").write_text("root:x:0:")
    (image / "greeting").write_text("from the image")
    return image


def spec(made: Rig, name: str, image: Path, **changes: Any) -> SandboxSpec:
    program = made.data.parent / f"program-{name}"
    program.mkdir()
    (program / "main.py").write_text(PROBE)
    found = interpreter.make(made.data)
    fields: dict[str, Any] = {"system": "writable", "limits": LIMITS, "root": image, **changes}
    return made.spec(name, command=(found.executable, "/app/main.py"), mounts=(Mount(program, "/app", "ro"),), **fields)


@pytest.mark.promise("files.image")
@pytest.mark.parametrize("system", ["fixed", "writable"])
async def test_the_guest_runs_in_an_image_without_anything(made: Rig, image: Path, system: str) -> None:
    started = await made.backend.start(spec(made, "box", image, system=system))
    assert started.isolation.root is (ROOT and system == "writable")
    code = "import os; result = [open('/greeting').read(), os.path.exists('/usr/bin/env'), os.path.exists('/bin/sh')]"
    assert await made.result("box", code) == ["from the image", False, False]
    users = await made.result("box", "result = [line.split(':')[0] for line in open('/etc/passwd')]")
    assert users == ["root", "web", "node", "user"]
    written = await made.run("box", "open('/greeting', 'w').write('changed')")
    assert (written.errno == 30) is (system == "fixed")
    assert (image / "greeting").read_text() == "from the image"
    assert await made.result("box", "open('/home/user/x', 'w').close(); open('/tmp/x', 'w').close(); result = 1") == 1
    guest = replace(spec(made, "guest", image, system=system), command=())
    await made.backend.start(guest)
    (await made.backend.connect("guest", 49983)).close()


@pytest.mark.promise("files.image", "files.restored")
async def test_an_images_sandbox_is_saved_and_restored(made: Rig, image: Path) -> None:
    await made.backend.start(spec(made, "first", image))
    await made.result("first", "import os; os.remove('/greeting'); open('/new', 'w').write('made'); result = 1")
    await made.backend.save("first", made.data / "state")
    await made.backend.start(spec(made, "second", image, restore=made.data / "state"))
    assert await made.result(
        "second", "import os; result = [os.path.exists('/greeting'), open('/new').read(), sorted(os.listdir('/'))]"
    ) == [
        False,
        "made",
        sorted(["app", "dev", "etc", "home", "new", "opt", "proc", "tmp"]),
    ]


@pytest.mark.promise("files.image", "files.hostile")
async def test_links_in_an_image_lead_nowhere(made: Rig, image: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the host's")
    shutil.rmtree(image / "etc")
    (image / "etc").symlink_to("/etc")
    for name in ("proc", "dev", "tmp", "home", "opt", "app"):
        (image / name).symlink_to(str(tmp_path))
    await made.backend.start(spec(made, "box", image))
    code = "import os; result = [os.path.islink('/' + n) for n in ('etc', 'proc', 'dev', 'tmp', 'home', 'opt', 'app')]"
    assert await made.result("box", code) == [False] * 7
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["secret", "image", "data", "program-box", "app-box"])
    users = await made.result("box", "result = [line.split(':')[0] for line in open('/etc/passwd')]")
    assert users == ["root", "user"]
