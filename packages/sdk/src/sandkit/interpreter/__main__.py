"""Listen, start the first kernel, and import all else while that starts, too."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from sandkit.interpreter.languages import PYTHON
from sandkit.interpreter.launching import launch

PORT = 49999
_BACKLOG = 128


def main() -> None:
    """Serve until the sandbox ends."""
    with socket.create_server(("", PORT), backlog=_BACKLOG) as listener:
        listener.setblocking(False)
        launched = launch(PYTHON, str(Path.home()))
        from sandkit.interpreter.web import serve  # noqa: PLC0415 (see above)

        asyncio.run(serve(listener, launched))


if __name__ == "__main__":
    main()
