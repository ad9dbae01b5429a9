"""Packages as strangers send them: what is wrong is said at the upload, and nothing of it is kept."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

from support.packages import manifest, pack_bomb, pack_members
from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

GOOD = {"agent.yaml": manifest().encode(), "agent.py": b""}


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type = kind
    info.linkname = target
    return info


def special(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type = kind
    return info


def builds(platform: Platform) -> list[str]:
    directory = platform.data_dir / "builds"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.mark.promise("build.packages")
@pytest.mark.parametrize(
    "bad",
    [
        {"../out.txt": b"x"},
        {"/etc/out.txt": b"x"},
        {"a/../../out.txt": b"x"},
        {"a\\..\\out.txt": b"x"},
        {"link": link("/etc/passwd")},
        {"link": link("../../etc/passwd")},
        {"a/link": link("../b/../../..")},
        {"d": link("a"), "d/up": link("../../x")},
        {"hard": link("/etc/passwd", tarfile.LNKTYPE)},
        {"hard": link("../x", tarfile.LNKTYPE)},
        {"fifo": special(tarfile.FIFOTYPE)},
        {"device": special(tarfile.CHRTYPE)},
        {"agent.py/inner": b"x"},
        {"./agent.py": b"again"},
    ],
    ids=", ".join,
)
async def test_what_leads_out_or_is_no_file_is_refused(platform: Platform, bad: dict[str, bytes | tarfile.TarInfo]) -> None:
    before = builds(platform)
    reply = await platform.api.post("/agents", content=pack_members(GOOD | bad))
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_package"), reply.text
    assert set(builds(platform)) <= set(before)  # those of other tests may vanish meanwhile


@pytest.mark.promise("build.packages")
async def test_links_that_stay_inside_are_kept(platform: Platform) -> None:
    inside = {
        "a/b/real.txt": b"x",
        "a/link": link("b/real.txt"),
        "a/b/up": link("../../agent.py"),
        "hard": link("agent.py", tarfile.LNKTYPE),
    }
    reply = await platform.api.post("/agents", content=pack_members(GOOD | inside))
    assert reply.status_code == 202, reply.text
    app = platform.data_dir / "builds" / reply.json()["buildID"] / "app"
    assert (app / "a/link").read_text() == "x"
    assert (app / "a/b/up").resolve() == app / "agent.py"
    assert not (app / "hard").is_symlink()


@pytest.mark.promise("build.packages")
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"agent.py": b""}, "no agent.yaml"),
        ({"agent.yaml": b"a: [", "agent.py": b""}, "not YAML"),
        ({"agent.yaml": manifest("Not A Name").encode(), "agent.py": b""}, "metadata.name"),
        ({"agent.yaml": b"kind: Agent", "agent.py": b""}, "metadata"),
        ({"agent.yaml": manifest().encode()}, "spec.entrypoint"),
    ],
    ids=["none", "broken", "name", "incomplete", "entrypoint"],
)
async def test_a_bad_manifest_is_refused_with_the_field(platform: Platform, files: dict[str, bytes], said: str) -> None:
    reply = await platform.api.post("/agents", content=pack_members(files))
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_manifest")
    assert said in reply.json()["message"]


@pytest.mark.promise("build.bombs")
async def test_a_hundred_thousand_files_are_refused(platform: Platform) -> None:
    reply = await platform.api.post("/agents", content=pack_members(GOOD | {f"f{n}": b"" for n in range(100_000)}), timeout=100)
    assert reply.status_code == 400
    assert "more than 20000 files" in reply.json()["message"]


@pytest.fixture
async def lean(tmp_path: Path) -> AsyncGenerator[Platform]:
    """A platform of its own, whose memory can be looked at."""
    async with Platform(tmp_path / "data") as running:
        yield running


@pytest.mark.promise("build.bombs")
async def test_a_bomb_of_two_gigabytes_is_stopped_while_it_is_read(lean: Platform) -> None:
    reply = await lean.api.post("/agents", content=pack_bomb(2 * 1024**3), timeout=100)
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_package")
    assert "when unpacked" in reply.json()["message"]
    assert builds(lean) == []
    assert lean.peak_memory() < 400 * 1024**2


@pytest.mark.promise("build.bombs")
async def test_a_header_that_claims_gigabytes_is_stopped(lean: Platform) -> None:
    pax = tarfile.TarInfo("header")
    pax.type = tarfile.XHDTYPE
    reply = await lean.api.post("/agents", content=pack_bomb(512 * 1024**2, pax), timeout=100)
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_package")
    assert lean.peak_memory() < 400 * 1024**2
