"""Which package index builds use: the one that uv or pip is configured with where the server runs."""

from __future__ import annotations

import configparser
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_PUBLIC_HOSTS = ("pypi.org:443", "files.pythonhosted.org:443")


@dataclass(frozen=True, slots=True)
class PackageIndex:
    """`url` of the index, None for the public one; `hosts` that builds may reach for it (entries as in `EgressPolicy.allow`)."""

    url: str | None
    hosts: tuple[str, ...]


def configured(environ: Mapping[str, str], root: Path = Path("/")) -> PackageIndex:
    """Return the index that variables, else uv's, else pip's configuration files name: the user's before the machine's.

    `SANDYARD_INDEX_HOSTS` (comma-separated) names further hosts, for an index that keeps its files elsewhere. `root` is where
    `/etc` is looked for. A file that cannot be read says nothing.
    """
    urls = [environ[name] for name in _VARIABLES if environ.get(name)]
    url = next(iter(urls), None) or next(_from_files(environ, root), None)
    further = tuple(filter(None, environ.get("SANDYARD_INDEX_HOSTS", "").split(",")))
    return PackageIndex(url, (*(_PUBLIC_HOSTS if url is None else (_host_of(url),)), *further))


def _from_files(environ: Mapping[str, str], root: Path) -> Iterator[str]:
    home = Path(environ.get("HOME") or "~").expanduser()
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    uv = [environ.get("UV_CONFIG_FILE"), config / "uv/uv.toml", root / "etc/uv/uv.toml"]
    pip = [environ.get("PIP_CONFIG_FILE"), Path(sys.prefix) / "pip.conf", config / "pip/pip.conf", home / ".pip/pip.conf"]
    yield from (url for path in uv if path for url in _of_uv(Path(path)))
    yield from (url for path in (*pip, root / "etc/pip.conf") if path for url in _of_pip(Path(path)))


def _of_uv(path: Path) -> Iterator[str]:
    try:
        settings: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return
    for table in (settings, settings.get("pip", {})):
        yield from (index["url"] for index in table.get("index", ()) if index.get("default"))
        if "index-url" in table:
            yield table["index-url"]


def _of_pip(path: Path) -> Iterator[str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path)
    except (OSError, ValueError, configparser.Error):
        return
    for section in ("install", "global"):
        if parser.has_option(section, "index-url"):
            yield parser.get(section, "index-url")


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (80 if parts.scheme == 'http' else 443)}"
