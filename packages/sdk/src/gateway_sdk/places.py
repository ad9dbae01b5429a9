"""Where the gateway is: the argument, else `GATEWAY_BASE_URL`, else the platform that runs on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway_sdk.exceptions import GatewayError

VARIABLE = "GATEWAY_BASE_URL"


def find_base_url(told: str | None) -> str:
    """Return the gateway's address without a slash at its end.

    Raises:
        GatewayError: nobody says where it is, or what is said is no address.
    """
    url = told or os.environ.get(VARIABLE) or _running()
    if url is None:
        raise GatewayError(f"there is no gateway to ask: pass base_url, set {VARIABLE}, or start one with `sandyard serve`", "NO_BASE_URL")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise GatewayError(f"{url.partition('?')[0]!r} is no address of a gateway; it looks like http://127.0.0.1:8800", "BAD_BASE_URL")
    return url.rstrip("/")


def _running() -> str | None:
    """Return the address that the server of the default data directory has left there (as `sandyard env` finds it)."""
    home = os.environ.get("SANDYARD_DATA_DIR") or Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "sandyard"
    try:
        info: Any = json.loads((Path(home).expanduser() / "server.json").read_text(encoding="utf-8"))
        return str(info["api_url"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None
