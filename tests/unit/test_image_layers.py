"""Layers of images onto a directory: whiteouts as the specification says, and nothing outside the root."""

from __future__ import annotations

import contextlib
import gzip
import sys
import tarfile
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandyard.work.failures import BuildFailed
from sandyard.work.layers import Root
from sandyard.work.registry import ImageName, read_name
from support.registry import by_zstd, layer, special

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

LINK, HARD, DIRECTORY, DEVICE, FIFO = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    """Return the 512 bytes that announce a member of that size."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def described(packed: bytes) -> bytes:
    """Return a layer compressed by zstd after a frame that is to be skipped."""
    return b"\x5f\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"toc" + by_zstd(packed)


NAMELESS = header(tarfile.GNUTYPE_LONGNAME, 80 << 20)
DESCRIBED = header(tarfile.XHDTYPE, 80 << 20)
REMOVING = header(tarfile.REGTYPE, 80 << 20, ".wh.x")


def apply(directory: Path, *layers: bytes, room: int = 10**7, entries: int = 1000) -> Path:
    """Lay layers over one another into `directory/image/root`; return it."""
    root = directory / "image" / "root"
    root.mkdir(parents=True)
    image = Root(root, room, entries)
    for number, data in enumerate(layers):
        path = directory / f"layer{number}"
        path.write_bytes(data)
        image.apply(path)
    return root


@pytest.mark.promise("template.image")
def test_whiteouts_take_away_what_is_below_and_not_what_comes_beside_them(tmp_path: Path) -> None:
    root = apply(
        tmp_path,
        layer(("etc/gone", b"1"), ("etc/kept", b"1"), ("dir/old", b"1"), ("dir/sub/old", b"1"), ("tree/a/b", b"1")),
        layer(("dir/new", b"2"), special("dir/.wh..wh..opq", tarfile.REGTYPE), special("etc/.wh.gone", tarfile.REGTYPE)),
        layer(special("tree/.wh.a", tarfile.REGTYPE), ("tree/c", b"3")),
    )
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == ["dir/new", "etc/kept", "tree/c"]


@pytest.mark.promise("template.image")
def test_links_and_kinds_are_as_the_image_means_them(tmp_path: Path) -> None:
    root = apply(
        tmp_path,
        layer(
            special("usr/bin", DIRECTORY),
            special("bin", LINK, "usr/bin"),
            special("absolute", LINK, "/usr"),
            ("usr/bin/tool", b"tool"),
            special("usr/bin/same", HARD, "usr/bin/tool"),
            special("dev/null", DEVICE),
            special("pipe", FIFO),
        ),
        layer(("bin/other", b"other"), ("absolute/share/text", b"text"), ("usr/bin/tool", b"newer")),
    )
    assert (root / "usr/bin/other").read_bytes() == b"other"
    assert (root / "usr/share/text").read_bytes() == b"text"
    assert (root / "usr/bin/tool").read_bytes() == b"newer"
    assert (root / "usr/bin/same").read_bytes() == b"tool"
    assert not (root / "pipe").exists()
    assert not (root / "dev/null").exists()


@pytest.mark.promise("template.image_hostile")
@pytest.mark.parametrize(
    "members",
    [
        [("../escape", b"x")],
        [("a/../../escape", b"x")],
        [special("out", LINK, "../../.."), ("out/escape", b"x")],
        [special("out", LINK, "/../../"), ("out/escape", b"x")],
        [special("one", LINK, ".."), special("two", LINK, "one/.."), ("two/escape", b"x")],
        [special("out", LINK, "../escape"), ("out", b"x")],
        [special("hard", HARD, "../../layer0"), ("hard", b"x")],
        [special("out", LINK, "/"), special("out/.wh..wh..opq", tarfile.REGTYPE)],
        [special("loop", LINK, "loop"), ("loop/x", b"x")],
        [special(".wh...", tarfile.REGTYPE)],
        [special("deep/" * 200 + "end", DIRECTORY)],
        [("/absolute/escape", b"x")],
        [special("setuid", DIRECTORY), special("setuid/.wh.", tarfile.REGTYPE)],
    ],
)
def test_no_member_leaves_the_root(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes] | tuple[str, bytes]]) -> None:
    beside = tmp_path / "image" / "beside"
    beside.mkdir(parents=True)
    (beside / "file").write_bytes(b"mine")
    with contextlib.suppress(BuildFailed):
        apply(tmp_path, layer(*members))
    assert (beside / "file").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "layer0"]
    assert sorted(path.name for path in (tmp_path / "image").iterdir()) == ["beside", "root"]


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", "beside"]), min_size=1, max_size=4).map(
    "/".join
)
TARGETS = st.one_of(NAMES, NAMES.map(lambda name: f"/{name}"), st.just("../beside"), st.just("../beside/file"))


@pytest.mark.promise("template.image_hostile")
@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.tuples(st.just(tarfile.REGTYPE), NAMES, st.just("")),
                st.tuples(st.just(DIRECTORY), NAMES, st.just("")),
                st.tuples(st.sampled_from([LINK, HARD]), NAMES, TARGETS),
            ),
            max_size=8,
        ),
        max_size=3,
    )
)
def test_whatever_layers_say_stays_inside(layers: list[list[tuple[bytes, str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        beside = directory / "image" / "beside"
        beside.mkdir(parents=True)
        (beside / "file").write_bytes(b"mine")
        with contextlib.suppress(BuildFailed):
            apply(directory, *(layer(*(special(path, kind, target) for kind, path, target in members)) for members in layers))
        assert sorted(path.name for path in (directory / "image").iterdir()) == ["beside", "root"]
        assert [path.name for path in beside.iterdir()] == ["file"]
        assert ((beside / "file").read_bytes(), (beside / "file").stat().st_nlink) == (b"mine", 1)


@pytest.mark.promise("template.image_hostile")
def test_sizes_and_counts_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "size").mkdir()
    with pytest.raises(BuildFailed, match="larger"):
        apply(tmp_path / "size", layer(("a", bytes(600)), ("b", bytes(600))), room=1000)
    (tmp_path / "count").mkdir()
    with pytest.raises(BuildFailed, match="more files"):
        apply(tmp_path / "count", layer(*((f"f{i}", b"") for i in range(20))), entries=10)
    (tmp_path / "torn").mkdir()
    with pytest.raises(BuildFailed, match=r"damaged|cannot be unpacked"):
        apply(tmp_path / "torn", layer(("a", bytes(100_000)))[:60])


@pytest.mark.promise("template.image")
@pytest.mark.parametrize("packed", [by_zstd, described, gzip.decompress], ids=["zstd", "described first", "plain"])
def test_layers_are_read_however_they_are_compressed(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    root = apply(tmp_path, layer(("a", b"1"), ("b", b"1")), packed(layer(("a", bytes(300_000)), special(".wh.b", tarfile.REGTYPE))))
    assert {path.name: path.stat().st_size for path in root.iterdir()} == {"a": 300_000}


@pytest.mark.promise("template.image_hostile")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (by_zstd(layer(("a", bytes(600)), ("b", bytes(600)))), "larger"),
        (by_zstd(layer(("a", bytes(100_000))))[:60], "damaged"),
        (b"\x28\xb5\x2f\xfd" + bytes(range(64)), "damaged"),
        (
            zstd.compress(bytes(100), options={zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.content_size_flag: 0}),
            "damaged",
        ),
        (zstd.compress(NAMELESS + bytes(80 << 20)), "headers"),
        (gzip.compress(NAMELESS + bytes(80 << 20), 1), "headers"),
        (zstd.compress(DESCRIBED + bytes(80 << 20)), "headers"),
        (zstd.compress(REMOVING + bytes(80 << 20)), "headers"),
    ],
    ids=["unpacked size", "torn", "no frame", "window", "long name", "long name by gzip", "extension", "removed with content"],
)
def test_no_compressed_layer_takes_more_than_it_may(tmp_path: Path, data: bytes, reason: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BuildFailed, match=reason):
            apply(tmp_path, data, room=1000)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("python:3", ImageName("registry-1.docker.io", "library/python", "3")),
        ("e2bdev/base", ImageName("registry-1.docker.io", "e2bdev/base", "latest")),
        ("localhost:5000/a/b:c", ImageName("localhost:5000", "a/b", "c")),
        (f"ghcr.io/o/i@sha256:{'0' * 64}", ImageName("ghcr.io", "o/i", f"sha256:{'0' * 64}")),
    ],
)
def test_names_are_read_as_docker_reads_them(text: str, name: ImageName) -> None:
    assert read_name(text) == name


@pytest.mark.parametrize("text", ["", "UPPER", "a b", "host.io/", "x@sha256:1", "../up", "a:b:c", "host.io/a?b=c", "h.io\r\n/x"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BuildFailed, match="not the name"):
        read_name(text)
