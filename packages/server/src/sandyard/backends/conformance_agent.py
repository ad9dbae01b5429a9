"""The agent of the conformance suite, standard library only: an ASGI `app` for back ends that want one, else a server."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

state = {"count": 0}


async def answer(path: str) -> str:
    """Do what the path says: `/count`, `/print/<text>`, `/exit/<code>`, `/env/<name>`, `/hang`; anything else says hello."""
    _, verb, *rest = path.split("/")
    argument = rest[0] if rest else ""
    match verb:
        case "count":
            state["count"] += 1
            return str(state["count"])
        case "print":
            print(argument, flush=True)  # noqa: T201 (the output of an agent is what the suite looks at)
        case "exit":
            asyncio.get_running_loop().call_soon(sys.exit, int(argument))
            await asyncio.Event().wait()
        case "env":
            return os.environ.get(argument, "")
        case "hang":
            await asyncio.Event().wait()
        case _:
            pass
    return "hello"


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 (ASGI's signature)
    """Serve ASGI."""
    if scope["type"] != "http":
        raise NotImplementedError
    body = (await answer(scope["path"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one request of HTTP/1.0."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        writer.close()  # somebody only asked whether the port listens
        return
    body = (await answer(head.split()[1].decode())).encode()
    writer.write(b"HTTP/1.0 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()
    writer.close()


async def main() -> None:
    """Listen where the platform says."""
    server = await asyncio.start_server(on_connection, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
