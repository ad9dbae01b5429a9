"""The prefab of the abuse cases: it is its own `src/main.py`, and runs in the sandbox."""

# ruff: noqa: PTH110, T201 (written as authors of prefabs write)
# pyright: basic
from __future__ import annotations

import base64
import os
import socket
import time
import urllib.parse


def tell_token() -> dict:
    return {"token": os.environ.get("X_INTERNAL_TOKEN"), "url": os.environ.get("GATEWAY_BASE_URL")}


def hold(seconds: float):
    yield {"type": "content", "data": os.environ["X_INTERNAL_TOKEN"]}
    time.sleep(seconds)


def use(how: str) -> dict:
    """Leak the secret in every way."""
    secret = os.environ["ABUSE_TOKEN"]
    spelled = [secret, base64.b64encode(secret.encode()).decode(), urllib.parse.quote(secret, safe="")]
    print("printed", secret, flush=True)
    if how == "raise":
        raise ValueError(" ".join(spelled))
    return {"told": spelled, secret: "as a key", "nested": [{"deep": f"<{secret}>"}]}


def leak_events():
    yield {"type": "content", "data": os.environ["ABUSE_TOKEN"]}
    yield {"type": "progress", "data": {"message": os.environ["ABUSE_TOKEN"]}}
    yield {"type": "done", "data": os.environ["ABUSE_TOKEN"]}


def optional() -> dict:
    return {"length": len(os.environ.get("ABUSE_TOKEN", ""))}


def connect(targets: list, paths: list) -> dict:
    """Connect to `host:port` directly and through the sandbox's proxy; look at paths of the host."""
    reached = []
    for target in targets:
        host, _, port = target.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
            reached.append(f"direct {target}")
        except OSError:
            pass
        try:
            with socket.create_connection(("127.0.0.1", 3128), timeout=2) as proxy:
                proxy.settimeout(5)
                proxy.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
                if proxy.recv(200).split(b" ")[1:2] == [b"200"]:
                    reached.append(f"proxy {target}")
        except OSError:
            pass
    return {"reached": reached, "seen": [path for path in paths if os.path.exists(path)]}
