"""Names with a slash in a path: E2B's clients encode `owner/name` as `owner%2Fname`, which servers decode before the routes see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote

from pydantic import AfterValidator

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

_KEPT = "%2F"


class EncodedSlashes:
    """Keeps the encoded slashes of paths that begin with one of `prefixes`, so that a name stays one part of the path."""

    def __init__(self, app: ASGIApp, prefixes: Collection[str]) -> None:
        self._app = app
        self._prefixes = tuple(prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(self._prefixes):
            raw = scope.get("raw_path", b"").decode("latin-1")
            if _KEPT.lower() in raw.lower():
                parts = (unquote(part).replace("/", _KEPT) for part in raw.partition("?")[0].split("/"))
                scope = {**scope, "path": "/".join(parts)}
        await self._app(scope, receive, send)


def _named(text: str) -> str:
    return text.replace(_KEPT, "/")


Named = Annotated[str, AfterValidator(_named)]
"""A path parameter that names a template."""
