"""What goes over the connection of one call: frames of JSON-RPC 2.0 messages and of file bytes.

A frame is a kind (one byte), a length (four bytes, big-endian) and that many bytes. One connection carries one call:

* to the runner: the request `invoke`, then the bytes of each file that it names, each ended by an empty `BYTES` frame. The end of
  that direction (a half-closed connection) is the call's `cancel`, and so is the server's death;
* from the runner: notifications `event`, then the response (`result` or `error`), then the bytes of each file that the result names,
  each ended by an empty `BYTES` frame; last of all the notification `exited`: how the process ended, and its last output.
"""

from __future__ import annotations

import json
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

JSON, BYTES = 0, 1
HEAD = struct.Struct(">BI")
CHUNK = 256 * 1024
"""Bytes of a file in one frame."""
PORT = 8080
"""Where the runner listens inside its sandbox."""


class BrokenFrameError(Exception):
    """What came is no frame, or one that is too long."""


def pack(message: dict[str, Any]) -> bytes:
    """Return the frame of a message.

    Raises:
        ValueError, TypeError: it is not JSON.
    """
    body = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return HEAD.pack(JSON, len(body)) + body


def chunk(data: bytes) -> bytes:
    """Return the frame of a piece of a file; the empty one ends the file."""
    return HEAD.pack(BYTES, len(data)) + data


def receive(connection: socket.socket, kind: int, limit: int) -> bytes:
    """Return the next frame's content.

    Raises:
        BrokenFrameError: it is of another kind, or longer than `limit`.
        EOFError: the other side has closed.
    """
    found, length = HEAD.unpack(_exactly(connection, HEAD.size))
    if found != kind or length > limit:
        raise BrokenFrameError(f"a frame of kind {found} with {length} bytes")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(data)
