"""The same attempts with a server that an ordinary user runs: where these tests are root, once more as another uid."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandkit.wire.errors import NOT_IMPLEMENTED, ApiError
from sandyard.domain.errors import NotSupported
from sandyard.domain.specs import Mount
from sandyard.domain.volumes import Volume
from sandyard.services.volumes.homes import Homes
from support import as_user
from support.namespaces import map_ids
from support.sandboxes import rig

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

TESTS = Path(__file__).parent
SEEN_BY_ROOT = "capability or fork_bomb or app_and_shared or killed_together"
"""The tests that hold for whoever is uid 0, of whatever namespace."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of the user's; pytest's own lie where only root may look."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, as_user.USER, as_user.USER)
        yield Path(name)


@pytest.mark.promise("process.ordinary_user")
@pytest.mark.skipif(os.geteuid() == 0, reason="root has the test below")
async def test_what_is_weaker_is_said(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        isolation = (await made.backend.start(made.spec("box"))).isolation
    assert isolation.user == "shared"
    assert isolation.seccomp
    assert isolation.disk_limit
    assert any("share the user id" in note for note in isolation.notes)
    for limit in ("memory", "cpu", "processes"):
        said = any("Not limited" in note and limit in note for note in isolation.notes)
        assert (limit in isolation.limits) != said


@pytest.mark.promise("process.ordinary_user", "volumes.refused")
@pytest.mark.skipif(os.geteuid() == 0, reason="root has the test below")
async def test_what_takes_root_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    async with rig(tmp_path) as made:
        await made.backend.start(made.spec("box"))
        with pytest.raises(NotSupported, match="server is root"):
            await made.backend.mount("box", Mount(tmp_path / "volume", "/tmp/data", "rw", shared=True))
    sized = Volume(id="v1", owner="ann", name="data", created_at=1.0, size_bytes=16 << 20)
    with pytest.raises(ApiError, match="which this machine does not mount") as refused:
        Homes(tmp_path / "volumes").make(sized)
    assert refused.value.problem is NOT_IMPLEMENTED
    assert not list((tmp_path / "volumes" / ".drafts").iterdir())


@pytest.mark.promise("process.ordinary_user")
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("wrapper", [[], ["unshare", "--user", "--map-root-user"]], ids=["plain", "as root of a user namespace"])
async def test_an_ordinary_user_runs_all_of_it(directory: Path, wrapper: list[str]) -> None:
    command = [*as_user.program(*wrapper), "-m", "pytest", "-q", "-x", *(["-k", SEEN_BY_ROOT] if wrapper else [])]
    options = ["-p", "no:cacheprovider", "--rootdir", str(TESTS.parents[1]), "-c", str(TESTS.parents[1] / "pyproject.toml")]
    files = [str(path) for path in (*TESTS.glob("test_process_*.py"), *TESTS.glob("test_keeper_*.py"))]
    environment = as_user.environment(directory)
    process = await asyncio.create_subprocess_exec(
        *command, *options, "--basetemp", str(directory / "t"), *files, env=environment, cwd="/", stdout=PIPE, stderr=STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-6000:]


@pytest.mark.promise("process.weak_root")
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="about a server started by root")
async def test_root_that_may_not_administer_gives_uids_too(tmp_path: Path) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv here")
    command = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    tests = [f"{TESTS}/test_process_isolation.py", "-k", "uid_of_its_own or capability or memory_bomb or limited_together", "--basetemp"]
    process = await asyncio.create_subprocess_exec(*command, *tests, str(tmp_path / "t"), cwd=TESTS.parents[1], stdout=PIPE, stderr=STDOUT)
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-6000:]


@pytest.mark.promise("process.weak_root")
@pytest.mark.slow
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can map every user id")
@pytest.mark.parametrize("network", ["the machine's", "its own"])
async def test_root_of_a_user_namespace_that_maps_every_id(tmp_path: Path, network: str) -> None:
    """It may give uids, and seems to administer; but from a sandbox's network it cannot come back into the machine's."""
    unshare = ["unshare", "--user", *(["--net"] if network == "its own" else [])]
    wanted = f"uid_of_its_own or {SEEN_BY_ROOT}"
    files = [f"{TESTS}/test_process_isolation.py", f"{TESTS}/test_keeper_life.py"]
    tests = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, "-k", wanted, "--basetemp", str(tmp_path / "t")]
    process = await asyncio.create_subprocess_exec(
        *unshare,
        "sh",
        "-c",
        'echo there; read -r mapped; exec "$@"',
        "sh",
        *tests,
        cwd=TESTS.parents[1],
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    if line == b"there\n":
        map_ids(process.pid)
    said, _ = await process.communicate(b"mapped\n")
    if line != b"there\n":
        pytest.skip(f"this machine makes no such namespace: {line.decode()}")
    assert process.returncode == 0, said.decode()[-6000:]
