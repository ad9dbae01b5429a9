"""What server and keeper say to each other: one JSON object per SEQPACKET message, descriptors beside it.

Requests are `{"id": n, "op": word, …}`; replies `{"id": n, "ok": {…}}` or `{"id": n, "error": word, "message": sentence}`;
events `{"event": word, …}`. An object that does not fit a message travels in a memfd, the last descriptor of its message.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, Final

MESSAGE_LIMIT: Final = 60 * 1024
BODY_LIMIT: Final = 16 * 1024 * 1024
MAX_FDS: Final = 12

GONE: Final = "gone"
UNAVAILABLE: Final = "unavailable"
UNSUPPORTED: Final = "unsupported"
IN_THE_WAY: Final = "in-the-way"
"""Something inside the sandbox keeps a mount from being made or taken away."""
REFUSED: Final = "refused"
"""The machine did not let a sandbox start; the message is what the launcher or bubblewrap printed."""

Message = dict[str, Any]

_SPILLED = b"{}"


class Closed(Exception):  # noqa: N818 (a fact about the peer, not a mistake)
    """The peer closed the connection, or died."""


def connection(path: str) -> socket.socket:
    """Return a non-blocking connection to the keeper's socket at `path`.

    The directory is entered by descriptor, because a socket's path is held to 107 bytes.
    """
    directory, name = os.path.split(path)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(f"/proc/self/fd/{fd}/{name}")
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    finally:
        os.close(fd)
    return sock


def send(sock: socket.socket, message: Message, fds: tuple[int, ...] = ()) -> None:
    """Send one message.

    Raises:
        BlockingIOError: the peer does not read; nothing was sent.
        Closed: the peer has gone.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    spill = memory_file("message", body) if len(body) > MESSAGE_LIMIT else None
    try:
        if spill is None:
            socket.send_fds(sock, [body], list(fds))
        else:
            socket.send_fds(sock, [_SPILLED], [*fds, spill])
    except (ConnectionError, BrokenPipeError) as error:
        raise Closed from error
    finally:
        if spill is not None:
            os.close(spill)


def receive(sock: socket.socket) -> tuple[Message, list[int]]:
    """Return the next message and its descriptors (close-on-exec, owned by the caller).

    Raises:
        BlockingIOError: none is there.
        Closed: the peer has gone; a peer that died with unread replies shows as a reset.
    """
    try:
        body, fds, _, _ = socket.recv_fds(sock, MESSAGE_LIMIT + 1024, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError as error:
        raise Closed from error
    if not body:
        raise Closed
    if body == _SPILLED:
        spill = fds.pop()
        try:
            body = os.pread(spill, min(os.fstat(spill).st_size, BODY_LIMIT), 0)
        finally:
            os.close(spill)
    return json.loads(body), fds


def memory_file(name: str, body: bytes) -> int:
    """Return a memfd that holds `body`, positioned at its start."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(body)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
