"""Builds use the index that the machine's uv or pip uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandyard.services.package_index import PackageIndex, configured

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.promise("build.index")

PUBLIC = PackageIndex(None, ("pypi.org:443", "files.pythonhosted.org:443"))
UV_TOML = '[[index]]\nurl = "https://uv.example/simple"\ndefault = true\n'
PIP_CONF = "[global]\nindex-url = http://pip.example:3141/simple\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_configuration_it_is_the_public_one(tmp_path: Path) -> None:
    assert configured({"HOME": str(tmp_path)}, tmp_path) == PUBLIC


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("home/.config/uv/uv.toml", UV_TOML, PackageIndex("https://uv.example/simple", ("uv.example:443",))),
        ("etc/uv/uv.toml", 'index-url = "https://u.example/"', PackageIndex("https://u.example/", ("u.example:443",))),
        ("etc/uv/uv.toml", '[pip]\nindex-url = "https://u.example/"', PackageIndex("https://u.example/", ("u.example:443",))),
        ("home/.config/pip/pip.conf", PIP_CONF, PackageIndex("http://pip.example:3141/simple", ("pip.example:3141",))),
        ("home/.pip/pip.conf", PIP_CONF, PackageIndex("http://pip.example:3141/simple", ("pip.example:3141",))),
        ("etc/pip.conf", "[install]\nindex-url=http://p.example/", PackageIndex("http://p.example/", ("p.example:80",))),
        ("home/.config/uv/uv.toml", "not = = toml", PUBLIC),
        ("home/.config/uv/uv.toml", '[[index]]\nurl = "https://extra.example/"\n', PUBLIC),
        ("etc/pip.conf", "no section", PUBLIC),
    ],
)
def test_configuration_files_are_read(file: str, text: str, expected: PackageIndex, tmp_path: Path) -> None:
    write(tmp_path / file, text)
    assert configured({"HOME": str(tmp_path / "home")}, tmp_path) == expected


def test_variables_come_before_files_and_hosts_can_be_added(tmp_path: Path) -> None:
    write(tmp_path / "home/.config/uv/uv.toml", UV_TOML)
    write(tmp_path / "home/.config/pip/pip.conf", PIP_CONF)
    environ = {"HOME": str(tmp_path / "home"), "SANDYARD_INDEX_HOSTS": "files.example:443"}
    assert configured(environ, tmp_path) == PackageIndex("https://uv.example/simple", ("uv.example:443", "files.example:443"))
    environ["PIP_INDEX_URL"] = "https://variable.example/simple"
    assert configured(environ, tmp_path).url == "https://variable.example/simple"
