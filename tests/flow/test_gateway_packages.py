"""Packages that are not as they should be: each is refused with what is wrong, and nothing of it is left."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import stat
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from support.prefabs import function, manifest, pack, publish, refused, result, upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.platform import Platform

pytestmark = pytest.mark.anyio

SOURCE = "def one(a: int, b: str = 'x') -> dict:\n    return {'a': a, 'b': b}\n"
ONE = function("one", {"a": "integer"})


def entries(*extra: tuple[str, bytes], link: str | None = None) -> Callable[[], bytes]:
    """Return what makes a package of a good prefab with further entries."""

    def make() -> bytes:
        buffer = io.BytesIO(pack(manifest("trick-one", ONE), SOURCE))
        with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
            for name, content in extra:
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
            if link:
                info = zipfile.ZipInfo(link)
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, "/etc/passwd")
        return buffer.getvalue()

    return make


def wheel(*, lie: bool = False) -> bytes:
    """Return a wheel, whose RECORD may not tell the truth."""
    files = {
        "prefab-manifest.json": json.dumps(manifest("wheel-one", ONE)).encode(),
        "src/__init__.py": b"",
        "src/main.py": SOURCE.encode(),
        "wheel_one-1.0.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: wheel-one\nVersion: 1.0.0\n",
        "wheel_one-1.0.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {name: base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=") for name, content in files.items()}
    if lie:
        digests["src/main.py"] = digests["src/__init__.py"]
    record = "".join(f"{name},sha256={digest},{len(files[name])}\n" for name, digest in digests.items())
    files["wheel_one-1.0.0.dist-info/RECORD"] = (record + "wheel_one-1.0.0.dist-info/RECORD,,\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def lying_directory() -> bytes:
    """Return a zip whose end record announces a directory of a gigabyte."""
    package = bytearray(pack(manifest("trick-one", ONE), SOURCE))
    place = package.rfind(b"PK\x05\x06")
    package[place + 12 : place + 16] = (2**30).to_bytes(4, "little")
    return bytes(package)


@pytest.mark.promise("gateway.packages")
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    ("make", "entry"),
    [
        (entries(("../evil.py", b"x")), "../evil.py"),
        (entries(("src/../../evil.py", b"x")), "src/../../evil.py"),
        (entries(("/etc/evil", b"x")), "/etc/evil"),
        (entries(("src\\evil.py", b"x")), None),
        (entries(("C:evil.py", b"x")), "C:evil.py"),
        (entries(("new\nline", b"x")), None),
        (entries(link="src/link"), "src/link"),
        (entries(("evil.pth", b"import os")), "evil.pth"),
        (entries(("src/sitecustomize.py", b"x")), "src/sitecustomize.py"),
        (entries(("usercustomize.py", b"x")), "usercustomize.py"),
        (entries(("src/main.py", b"x")), "src/main.py"),
        (entries(("SRC/main.py", b"x")), "SRC/main.py"),
        (entries(("src/main.py/below", b"x")), "src/main.py/below"),
        (entries(("below/prefab-manifest.json", b"{}")), "below/prefab-manifest.json"),
        (entries(("src/bomb", b"\0" * 50 * 2**20)), "src/bomb"),
        (entries(*((f"many/{number}", b"") for number in range(10_001))), None),
        (lambda: wheel(lie=True), "src/main.py"),
        (lambda: b"no zip at all", None),
        (lambda: pack(manifest("trick-one", ONE), SOURCE)[:-40], None),
        (lambda: pack({}, SOURCE).replace(b"prefab-manifest.json", b"prefab-manifest.jsom"), None),
        (lying_directory, None),
    ],
)
async def test_packages_with_tricks_are_refused(gateway: Platform, make: Callable[[], bytes], entry: str | None) -> None:
    reply = await upload(gateway, make())
    assert reply.status_code == 422, reply.text
    found = reply.json()["detail"]
    assert found["error_code"] == "PACKAGE_INVALID"
    if entry is not None:
        assert found["entry"] == entry
    known = {row.name for row in (gateway.data_dir / "prefabs").iterdir()}
    assert not [path for name in known for path in (gateway.data_dir / "prefabs" / name).glob("package.zip")]
    assert not any((gateway.data_dir / "prefabs" / name / "app" / "evil.pth").exists() for name in known)
    assert not (gateway.data_dir / "prefabs" / "evil.py").exists()


@pytest.mark.promise("gateway.packages")
async def test_bodies_that_are_no_package_are_refused(gateway: Platform) -> None:
    refused(await upload(gateway, b""), 400, "BAD_REQUEST")
    reply = await gateway.api.post("/v1/prefabs", content=b"x", headers={"Content-Type": "text/plain"})
    refused(reply, 415, "UNSUPPORTED_MEDIA_TYPE")
    refused(await upload(gateway, b"x" * (64 * 2**20 + 1)), 413, "PAYLOAD_TOO_LARGE")


def _with(**changes: Any) -> dict[str, Any]:
    return manifest("manifest-one", ONE) | changes


def _function(**changes: Any) -> dict[str, Any]:
    return manifest("manifest-one", ONE | changes)


def _parameter(**changes: Any) -> dict[str, Any]:
    return _function(parameters=[{"name": "a", "type": "integer", "description": "a", "required": True} | changes])


@pytest.mark.promise("gateway.manifests")
@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (_with(id="UPPER"), "/id"),
        (_with(id="a"), "/id"),
        (_with(id=".."), "/id"),
        (_with(id="a--b"), "/id"),
        (_with(id=5), "/id"),
        (_with(version="01.0.0"), "/version"),
        (_with(version="1.0"), "/version"),
        (_with(schema_version="2.0"), "/schema_version"),
        (_with(entry_point="../main.py"), "/entry_point"),
        (_with(entry_point="src/other.py"), "/entry_point"),
        (_with(functions=[]), "/functions"),
        (_with(functions=[ONE, ONE]), "/functions/1/name"),
        (_function(name="a b"), "/functions/0/name"),
        (_function(name="_one"), "/functions/0/name"),
        (_parameter(name="a b"), "/functions/0/parameters/0/name"),
        (_parameter(type="text"), "/functions/0/parameters/0/type"),
        (_parameter(type="string", pattern="("), "/functions/0/parameters"),
        (_function(secrets=[{"name": "path"}]), "/functions/0/secrets/0/name"),
        (_function(secrets=[{"name": "LD_PRELOAD"}]), "/functions/0/secrets/0/name"),
        (_function(files={"in": {"type": "string"}}), "/functions/0/files/in/items/type"),
        (_function(files={"a b": {"type": "array", "items": {"type": "InputFile"}}}), "/functions/0/files/a b"),
    ],
)
async def test_wrong_manifests_are_refused_by_pointer(gateway: Platform, document: dict[str, Any], pointer: str) -> None:
    found = refused(await upload(gateway, pack(document, SOURCE)), 422, "PACKAGE_INVALID")
    assert found["pointer"] == pointer, found
    assert found["problems"][0]["pointer"] == pointer


@pytest.mark.promise("gateway.manifests")
async def test_what_can_be_relaxed_is_a_warning(gateway: Platform) -> None:
    described = ONE | {
        "files": {
            "clips": {"type": "array", "items": {"type": "InputFile"}, "description": "c", "minItems": 2, "maxItems": 1},
            "one": {"type": "InputFile", "accept": ".mp4", "required": False},
        }
    }
    spec = await publish(gateway, pack(manifest("relaxed-one", described), SOURCE))
    told = "\n".join(spec["warnings"])
    assert "/functions/0/files/clips/maxItems" in told
    assert "/functions/0/files/one/type" in told


@pytest.mark.promise("gateway.publish")
async def test_a_wheel_is_published_and_called(gateway: Platform) -> None:
    await publish(gateway, wheel())
    assert (await result(gateway, "wheel-one", "one", {"a": 1}))["output"]["output"] == {"a": 1, "b": "x"}
