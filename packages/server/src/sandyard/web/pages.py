"""Lists in pages, newest first. What is deleted between two pages, also by who reads them, moves no other entry. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sandkit.wire.errors import INVALID_REQUEST, ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def newest_first(found: Sequence[T], key: Callable[[T], tuple[float, str]], limit: int, token: str | None) -> tuple[list[T], str | None]:
    """Return a page of what was found, and the token of the page after it, or None.

    `key` gives when an entry was made, and its id; a token says after which of these a page begins.

    Raises:
        ApiError: `invalid_request`: the token is none of ours.
    """
    ordered = sorted(found, key=key, reverse=True)
    after = _read(token) if token else None
    rest = [each for each in ordered if after is None or key(each) < after]
    if len(rest) <= limit:
        return rest, None
    moment, id_ = key(rest[limit - 1])
    return rest[:limit], f"{moment!r}_{id_}"


def _read(token: str) -> tuple[float, str]:
    moment, _, id_ = token.partition("_")
    try:
        return float(moment), id_
    except ValueError:
        raise ApiError(INVALID_REQUEST, "nextToken: leads nowhere; take what the header X-Next-Token said") from None
