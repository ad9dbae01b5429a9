"""multipart/form-data as it streams in: part after part, each read in pieces, nothing held but a boundary's length."""

from __future__ import annotations

from sandkit.guest.envd.heads import Refused, parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_HEAD_LIMIT = 16 * 1024  # bytes of one part's headers
_BOUNDARY_LIMIT = 256


class Multipart:
    """Reads the parts of a body, which `read` brings in pieces.

    Raises:
        Refused: it is malformed.
    """

    def __init__(self, content_type: str, read: Callable[[], Awaitable[bytes]]) -> None:
        boundary = parameters(content_type)[1].get("boundary", "")
        if not 0 < len(boundary) <= _BOUNDARY_LIMIT:
            raise Refused(400, "The Content-Type of a multipart body must name its boundary.")
        self._read = read
        self._mark = b"\r\n--" + boundary.encode("utf-8", "replace")
        self._kept = b"\r\n"  # so that the first boundary is like the others
        self._inside = True  # before the first boundary stands a preamble, which is no part

    async def next(self) -> tuple[str, str] | None:
        """Go on to the next part; return its name and file name, or None after the last."""
        while await self.read():
            pass
        await self._more(4)
        if self._kept.startswith(b"--"):
            return None
        end = self._kept.find(b"\r\n\r\n")
        while end < 0:
            if len(self._kept) > _HEAD_LIMIT:
                raise Refused(400, "A part's headers are too large.")
            await self._more(len(self._kept) + 1)
            end = self._kept.find(b"\r\n\r\n")
        head, self._kept = self._kept[:end], self._kept[end + 4 :]
        self._inside = True
        return _names(head)

    async def read(self) -> bytes:
        """Return a piece of the part; nothing at its end."""
        while self._inside:
            at = self._kept.find(self._mark)
            if at >= 0:
                piece, self._kept = self._kept[:at], self._kept[at + len(self._mark) :]
                self._inside = False
                return piece
            sure = len(self._kept) - len(self._mark) + 1
            if sure > 0:
                piece, self._kept = self._kept[:sure], self._kept[sure:]
                return piece
            await self._more(len(self._kept) + 1)
        return b""

    async def _more(self, size: int) -> None:
        while len(self._kept) < size:
            data = await self._read()
            if not data:
                raise Refused(400, "The multipart body ends before its last boundary.")
            self._kept += data


def _names(head: bytes) -> tuple[str, str]:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            found = parameters(value.decode("utf-8", "surrogateescape"))[1]
            return found.get("name", ""), found.get("filename", "")
    return "", ""
