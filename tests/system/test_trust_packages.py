"""Packages whose headers lie: about sizes, about themselves, about how long they are. Each is refused at the upload."""

from __future__ import annotations

import io
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from support.packages import manifest
from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

GIB = 1024**3
GOOD = [(tarfile.TarInfo("agent.yaml"), manifest().encode()), (tarfile.TarInfo("agent.py"), b"")]


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Platform]:
    async with Platform(tmp_path / "data") as started:
        yield started


def member(name: str, comment: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.pax_headers = {"comment": comment}
    return info


def pack(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


async def refusal(platform: Platform, package: bytes) -> str:
    """Upload; return the sentence of the refusal. Nothing of it is kept."""
    reply = await platform.api.post("/agents", content=package, headers={"Content-Type": "application/gzip"})
    assert reply.status_code == 400, reply.text
    builds = platform.data_dir / "builds"
    assert not builds.exists() or list(builds.iterdir()) == []
    return reply.json()["message"]


@pytest.mark.promise("trust.package")
@pytest.mark.parametrize("keyword", ["GNU.sparse.realsize", "GNU.sparse.size"])
async def test_a_size_below_zero_buys_no_room(platform: Platform, keyword: str) -> None:
    lie = tarfile.TarInfo("lie")
    lie.pax_headers = {keyword: str(-1000 * GIB), "GNU.sparse.map": "0,0"}
    assert "below zero" in await refusal(platform, pack([(lie, b""), *GOOD]))


@pytest.mark.promise("trust.package")
async def test_an_extended_header_that_takes_forever_to_read_is_not_read(platform: Platform) -> None:
    started = time.monotonic()
    sentence = await refusal(platform, pack([(member("slow", "1" * 900_000), b""), *GOOD]))
    assert "headers are larger" in sentence
    assert time.monotonic() - started < 10


@pytest.mark.promise("trust.package")
async def test_many_extended_headers_together_are_bounded(platform: Platform) -> None:
    many = [(member(f"slow{number}", "1" * 15_000), b"") for number in range(100)]
    assert "headers are larger" in await refusal(platform, pack([*GOOD, *many]))


@pytest.mark.promise("trust.package")
@pytest.mark.parametrize("name", ["x" * 300, "/".join(["d" * 200] * 40)], ids=["name", "path"])
async def test_a_name_that_no_file_can_have_is_the_packages_fault(platform: Platform, name: str) -> None:
    assert "too long" in await refusal(platform, pack([*GOOD, (tarfile.TarInfo(name), b"")]))


@pytest.mark.promise("trust.package")
@pytest.mark.parametrize("value", ["1" * 5000, "2023-13-45"])
async def test_a_manifest_that_yaml_cannot_take_is_the_packages_fault(platform: Platform, value: str) -> None:
    odd = [(tarfile.TarInfo("agent.yaml"), f"{manifest()}extra: {value}\n".encode()), GOOD[1]]
    assert "is not YAML" in await refusal(platform, pack(odd))
