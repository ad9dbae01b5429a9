"""Who is asked, and may he be: from a request head to a route and a port, or to the error that the caller gets. Pure.

The order and the texts are E2B's (sandbox protocol §3.2): its clients look for `was not found` and `port is not open`.
"""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sandkit.wire.errors import (
    AGENT_CRASHED,
    FORBIDDEN,
    INVALID_REQUEST,
    NOT_FOUND,
    PORT_CLOSED,
    SANDBOX_GONE,
    SANDBOX_PAUSED,
    UNAUTHENTICATED,
    ApiError,
)
from sandyard.domain.sandboxes import SandboxState
from sandyard.domain.specs import GUEST_PORT
from sandyard.ingress.heads import VENDORS, bearer_of
from sandyard.ingress.signed import read_signed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandyard.catalog import Catalog, Route
    from sandyard.ingress.heads import RequestHead
    from sandyard.ingress.signed import SignedUrl

_SHARED_HOST = re.compile(rb"(?:localhost|sandbox\..+|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])(?::\d+)?", re.IGNORECASE)
_NAMED_HOST = re.compile(rb"(\d{1,5})-([a-z0-9]+)[-.]", re.IGNORECASE)
_SANDBOX_ID = re.compile(r"[a-z0-9]{1,64}")
_ID_HEADERS = tuple((vendor + b"-sandbox-id", vendor + b"-sandbox-port") for vendor in VENDORS)
_GUEST_REFUSED = frozenset({b"/init", b"/freeze", b"/unfreeze", b"/fsfreeze", b"/fsthaw", b"/collapse", b"/upgrade"})
_SLASHES = re.compile(rb"/{2,}")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a sandbox, as the caller named it."""

    sandbox_id: str
    port: int


def find_target(head: RequestHead, catalog: Catalog) -> Target:
    """Return which port of which sandbox is asked for.

    Raises:
        ApiError: `invalid_request` if nothing names a sandbox, or something names it badly.
    """
    shared, named = _read_host(head.host)
    if shared:
        for id_header, port_header in _ID_HEADERS:
            if id_header in head.special:
                ports = head.special.get(port_header, [b""])
                return _read_target(head.special[id_header][0], ports[0])
    if named is not None:
        return named
    token = head.first(b"x-access-token")
    route = None if token is None else catalog.by_token(token)
    if route is not None:
        return Target(route.sandbox_id, GUEST_PORT)
    signed = read_signed(head)
    if signed is not None:
        return _find_signed(signed, catalog)
    raise ApiError(
        INVALID_REQUEST if token is None else UNAUTHENTICATED,
        "Say which sandbox is meant: send PPIO-Sandbox-Id and PPIO-Sandbox-Port (or the E2B names), or use the host "
        "<port>-<sandbox id>.<domain>, or send the X-Access-Token of a living sandbox",
    )


def _find_signed(signed: SignedUrl, catalog: Catalog) -> Target:
    """Return the sandbox whose token a URL was signed with: nothing else in the URL of a shared address names it."""
    for route in catalog.living():
        if signed.made_with(route.access_token):
            return Target(route.sandbox_id, GUEST_PORT)
    raise ApiError(UNAUTHENTICATED, "The URL's signature is not that of any living sandbox")


@lru_cache(maxsize=1024)
def _read_host(host: bytes) -> tuple[bool, Target | None]:
    match = _NAMED_HOST.match(host)
    named = None
    if match is not None and 0 < int(match[1]) <= _HIGHEST_PORT:
        named = Target(match[2].decode().lower(), int(match[1]))
    return not host or _SHARED_HOST.fullmatch(host) is not None, named


@lru_cache(maxsize=4096)
def _read_target(sandbox_id: bytes, port: bytes) -> Target:
    return Target(_clean_id(sandbox_id.decode("latin-1")), _read_port(port.decode("latin-1")))


def _clean_id(text: str) -> str:
    sandbox_id = text.strip().partition("-")[0]
    if not _SANDBOX_ID.fullmatch(sandbox_id):
        raise ApiError(INVALID_REQUEST, "A sandbox id consists of small letters and digits")
    return sandbox_id


def _read_port(text: str) -> int:
    digits = text.strip()
    if not digits:
        return GUEST_PORT
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) <= _HIGHEST_PORT):
        raise ApiError(INVALID_REQUEST, "A sandbox port is a number from 1 to 65535")
    return int(digits)


def admit(head: RequestHead, target: Target, catalog: Catalog, owner_of: Callable[[str], str | None]) -> tuple[Route, bool]:
    """Return the route of a living sandbox that this caller may reach, and whether the route alone admits him (no API key did).

    Raises:
        ApiError: `sandbox_gone`, `sandbox_paused`, `unauthenticated` or `forbidden`. What is told of an ended sandbox (its last
            output) is told only to those who were admitted to it.
    """
    route = catalog.get(target.sandbox_id)
    if route is None:
        raise ApiError(SANDBOX_GONE, "The sandbox was not found")
    by_route = (route.public and target.port != GUEST_PORT) or _has_token(head, target, route)
    if not by_route and not _is_signed(head, target, route):
        _check_keys(head, target, route, owner_of)
    check_state(route)
    return route, by_route


def _has_token(head: RequestHead, target: Target, route: Route) -> bool:
    expected = [route.access_token.encode()]
    if route.traffic_token and target.port != GUEST_PORT:
        expected.append(route.traffic_token.encode())
    for name in (b"x-access-token", b"e2b-traffic-access-token"):
        tokens = head.special.get(name)
        if tokens is not None and any(hmac.compare_digest(tokens[0], token) for token in expected):
            return True
    return False


def _is_signed(head: RequestHead, target: Target, route: Route) -> bool:
    """Tell whether a signed URL admits to what is asked for.

    Raises:
        ApiError: `unauthenticated` if it did, but no longer does, or never did.
    """
    signed = read_signed(head) if target.port == GUEST_PORT else None
    if signed is None:
        return False
    if not signed.made_with(route.access_token):
        raise ApiError(UNAUTHENTICATED, "The URL's signature is wrong: it fits one path, one user and one verb of one sandbox")
    if signed.expires_at is not None and signed.expires_at < time.time():
        raise ApiError(UNAUTHENTICATED, "The URL's signature has expired; have a new one made")
    return True


def _check_keys(head: RequestHead, target: Target, route: Route, owner_of: Callable[[str], str | None]) -> None:
    keys = [head.first(b"x-api-key"), *(bearer_of(value) for value in head.special.get(b"authorization", ()))]
    owners = {owner_of(key) for key in keys if key} - {None}
    if route.owner in owners:
        return
    if owners:
        raise ApiError(FORBIDDEN, "This API key does not own the sandbox")
    if route.traffic_token and not route.agent and target.port != GUEST_PORT:
        given = "invalid" if b"e2b-traffic-access-token" in head.special else "missing"
        raise ApiError(FORBIDDEN, f"This sandbox takes traffic with its traffic access token only: E2b-Traffic-Access-Token is {given}")
    raise ApiError(
        UNAUTHENTICATED,
        "This sandbox is not public: send its access token (X-Access-Token) or its owner's API key (X-API-Key)",
    )


def check_state(route: Route) -> None:
    """Raise what a caller of a sandbox that does not run is told.

    Raises:
        ApiError: `sandbox_paused` or `sandbox_gone`.
    """
    if route.state is SandboxState.PAUSED:
        raise ApiError(SANDBOX_PAUSED, "The sandbox was not found: it is paused. Resume it first.")
    if route.state.final:
        reason = f": {route.reason}" if route.reason else ""
        raise ApiError(SANDBOX_GONE, f"The sandbox was not found{reason}", details=ended_details(route))


def ended_details(route: Route) -> dict[str, Any]:
    return {"state": str(route.state), "reason": route.reason, "exit_code": route.exit_code, "output": route.output}


def port_closed(target: Target) -> ApiError:
    return ApiError(PORT_CLOSED, "The sandbox is running but port is not open", details={"port": target.port})


def agent_crashed(route: Route | None) -> ApiError:
    """What a caller hears when the connection broke before the response head; `route` is the newest one known."""
    if route is None or not route.state.final:
        return ApiError(
            AGENT_CRASHED,
            "The agent closed the connection without an answer",
            details={"exit_code": None, "output": ""},
        )
    reason = route.reason or "the sandbox ended"
    return ApiError(AGENT_CRASHED, f"The agent ended before it answered: {reason}", details=ended_details(route))


def path_for(head: RequestHead, target: Target) -> bytes:
    """Return the path to ask for; the guest's own is tidied and its inner verbs refused.

    Raises:
        ApiError: `not_found` for the verbs that only the platform may use.
    """
    if target.port != GUEST_PORT:
        return head.target
    path, mark, query = head.target.partition(b"?")
    path = _SLASHES.sub(b"/", path)
    if _plain(path) in _GUEST_REFUSED:
        raise ApiError(NOT_FOUND, "There is no such path")
    return path + mark + query


def _plain(path: bytes) -> bytes:
    """Return the path as any lenient router may read it: percent-decoded, dots resolved, no trailing slash, lower case."""
    decoded = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), path)
    parts: list[bytes] = []
    for part in decoded.replace(b"\\", b"/").split(b";")[0].split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts).lower()
