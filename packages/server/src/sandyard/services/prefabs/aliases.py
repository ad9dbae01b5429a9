"""Versions: their order, and what `latest`, `1`, `1.2`, `^1.2` and `~1.2` mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandyard.domain.prefabs import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

Numbers = tuple[int, int, int]


def numbers(version: str) -> Numbers:
    """Return an exact version's numbers."""
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


def is_exact(version: str) -> bool:
    """Whether it is one version and no alias."""
    return VERSION.fullmatch(version) is not None


def newest(versions: Iterable[str], alias: str) -> str | None:
    """Return the highest of the exact `versions` that `alias` admits."""
    fitting = [version for version in versions if _admits(alias, numbers(version))]
    return max(fitting, key=numbers, default=None)


def _admits(alias: str, version: Numbers) -> bool:
    if alias == "latest":
        return True
    given = tuple(int(part) for part in alias.lstrip("^~").split("."))
    if alias.startswith("^"):
        fixed = next((place for place, number in enumerate(given) if number), len(given) - 1) + 1
        return version[:fixed] == given[:fixed] and version >= given
    if alias.startswith("~"):
        fixed = min(2, len(given))
        return version[:fixed] == given[:fixed] and version >= given
    return version[: len(given)] == given
