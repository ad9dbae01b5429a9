"""What follows from a request head: which port of which sandbox, whether the caller may, and what the sandbox will read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandyard.ingress import routing
from sandyard.ingress.heads import render_request

if TYPE_CHECKING:
    from sandyard.catalog import Route
    from sandyard.ingress.heads import RequestHead
    from sandyard.ingress.plane import Plane
    from sandyard.ingress.routing import Target


@dataclass(frozen=True, slots=True)
class Passage:
    """An admitted request head. `lines` is the head for the sandbox without Content-Length, request id and its end."""

    target: Target
    route: Route
    token: str
    lines: bytes
    lasting: bool
    """Follows from the head and the route alone: no API key was asked or searched for, which may be revoked at any time."""

    def holds(self, plane: Plane) -> bool:
        """Tell whether the same head leads to the same still: a route that changed in any way is another object."""
        return self.lasting and plane.catalog.get(self.route.sandbox_id) is self.route and _token_of(plane, self.route) == self.token


def find_passage(plane: Plane, head: RequestHead, target: Target) -> Passage:
    """Decide about `head`.

    Raises:
        ApiError: the caller is not admitted, or asks for what he must not.
    """
    route, by_route = routing.admit(head, target, plane.catalog, plane.owner_of)
    token = _token_of(plane, route)
    lines, searched = render_request(
        head,
        target=routing.path_for(head, target),
        host=_host_for(head, route, target),
        identity=_identity(token, route),
        is_platform_key=plane.is_platform_key,
    )
    return Passage(target, route, token, lines, lasting=by_route and not searched)


def _host_for(head: RequestHead, route: Route, target: Target) -> bytes:
    """Return the Host that the sandbox reads: the caller's, or the one that the sandbox was made with."""
    if not route.mask_request_host:
        return head.host
    return route.mask_request_host.replace("${PORT}", str(target.port)).encode("latin-1", errors="replace")


def _token_of(plane: Plane, route: Route) -> str:
    """Return the token by which an agent acts for its owner. Whatever else listens in a sandbox, anybody's code, is given none."""
    return plane.internal_token(route) if route.agent else ""


def _identity(token: str, route: Route) -> bytes:
    known = f"x-internal-token: {token}\r\n" if token else ""
    return f"{known}x-sandbox-id: {route.sandbox_id}\r\n".encode("latin-1")
