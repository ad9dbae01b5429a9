"""The ready command: returns when the program answers. A script of the standard library that needs no `site`."""

import socket
import sys
import time

_PORT, _SECONDS, _PAUSE = 49999, 45.0, 0.01


def main() -> int:
    """Return 0 once `/health` was answered, 1 where nothing listens for too long."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", _PORT), timeout=_SECONDS) as asking:
                asking.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return 0 if b" 200 " in asking.recv(64) else 1
        except OSError:
            time.sleep(_PAUSE)
    return 1


if __name__ == "__main__":
    sys.exit(main())
