"""Which sandbox a connection to our own listener comes from: noted by who makes it (the egress proxy), asked by who serves it."""

from __future__ import annotations

GATEWAY_HOST = "gateway.sandyard.internal"
"""What the gateway is called inside every sandbox; no name server knows it."""
GATEWAY_URL = f"http://{GATEWAY_HOST}"


class Origins:
    """Sandboxes by the client's end of their connections. An end is only there as long as its connection is."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, int], str] = {}

    def enter(self, host: str, port: int, sandbox_id: str) -> None:
        self._ends[host, port] = sandbox_id

    def leave(self, host: str, port: int) -> None:
        self._ends.pop((host, port), None)

    def of(self, client: tuple[str, int] | None) -> str | None:
        """Return the sandbox that this client is, if it is one."""
        return None if client is None else self._ends.get((client[0], client[1]))
