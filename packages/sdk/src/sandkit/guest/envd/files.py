"""`/files`: whole files up and down, and `/files/compose`; everything with the named user's identity.

An upload writes into the file that is there, as every program does: its owner, mode and links stay, watchers see a write. A body
of up to HELD bytes is taken whole before the file is touched; a file that a broken upload has made is taken away again.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib

from sandkit.guest.envd.entries import bad_metadata, read_metadata, write_metadata
from sandkit.guest.envd.heads import Refused
from sandkit.guest.envd.http import BODY_TIMEOUT, PIECE
from sandkit.guest.envd.multipart import Multipart
from sandkit.guest.envd.rpc import Fields, RpcError, decoded, printable
from sandkit.guest.envd.users import Acting, NoSuchUser, NotMapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from sandkit.guest.envd.http import Exchange
    from sandkit.guest.envd.users import User, Users

    Read = Callable[[], Awaitable[bytes]]

HELD = 1024 * 1024
_METADATA_HEADER = "x-metadata-"
_COMPOSE_LIMIT = 1024 * 1024
_ZIP = 31  # zlib's window for gzip
_DOWN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_UP = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_CREAT
_STATUS = {
    404: (errno.ENOENT,),
    403: (errno.EACCES, errno.EPERM, errno.EROFS),
    507: (errno.ENOSPC, errno.EDQUOT),
    400: (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EEXIST),
}


class Files:
    """The three requests that `/files` knows."""

    def __init__(self, users: Users) -> None:
        self._users = users

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request to `/files` or `/files/compose`.

        Raises:
            Refused: with the status that says whose mistake it is.
        """
        methods = {
            "/files": {"GET": self._download, "HEAD": self._download, "POST": self._upload},
            "/files/compose": {"POST": self._compose},
        }
        known = methods[exchange.head.path]
        if exchange.head.method not in known:
            raise Refused(405, f"Ask for {exchange.head.path} with {' or '.join(known)}.", {"Allow": ", ".join(known)})
        try:
            await known[exchange.head.method](exchange)
        except (ValueError, RpcError) as error:
            raise Refused(400, f"{error}") from None
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            raise of_os(error) from None

    def _user(self, name: str | None) -> User:
        try:
            return self._users.find(name)
        except NoSuchUser as error:
            raise Refused(401, str(error)) from None
        except NotMapped as error:
            raise Refused(403, str(error)) from None

    # -- down --------------------------------------------------------------------------------------------------------------------

    async def _download(self, exchange: Exchange) -> None:
        user = self._user(exchange.head.query.get("username"))
        path = _path(user, exchange.head.query.get("path", ""))
        with Acting(user):
            fd = os.open(path, _DOWN)
        try:
            facts = _regular(fd, path)
            headers = {
                "Content-Type": "application/octet-stream",
                "Last-Modified": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(facts.st_mtime)),
                "Vary": "Accept-Encoding",
            }
            if exchange.head.method != "HEAD" and (facts.st_size == 0 or _wants_gzip(exchange.head.headers)):
                await _send_pieces(exchange, fd, headers)
            else:
                await _send_sized(exchange, fd, facts.st_size, headers)
        finally:
            os.close(fd)

    # -- up ----------------------------------------------------------------------------------------------------------------------

    async def _upload(self, exchange: Exchange) -> None:
        headers, query = exchange.head.headers, exchange.head.query
        user = self._user(query.get("username"))
        metadata = {name[len(_METADATA_HEADER) :]: value for name, value in headers.items() if name.startswith(_METADATA_HEADER)}
        if wrong := bad_metadata(metadata):
            raise Refused(400, wrong)
        kind = headers.get("content-type", "")
        read = _reader(exchange)
        if kind.lower().startswith("multipart/form-data"):
            written = await self._upload_parts(Multipart(kind, read), user, query.get("path", ""), metadata)
        elif kind.partition(";")[0].strip().lower() == "application/octet-stream":
            path = _path(user, query.get("path", ""))
            written = [await _receive(read, user, path, metadata)]
        else:
            raise Refused(400, "Send a file as multipart/form-data or application/octet-stream.")
        await exchange.reply_json(200, written)

    async def _upload_parts(self, parts: Multipart, user: User, path: str, metadata: Mapping[str, str]) -> list[dict[str, Any]]:
        """Receive the parts named `file`; without a `path` each one's file name is its path."""
        written: dict[str, dict[str, Any]] = {}
        while (names := await parts.next()) is not None:
            name, filename = names
            if name != "file":
                continue
            place = _path(user, path or filename)
            if place in written:
                raise Refused(400, f"Two parts would be written to {printable(place)}.")
            written[place] = await _receive(parts.read, user, place, metadata)
        if not written:
            raise Refused(400, "The body holds no part that is named 'file'.")
        return list(written.values())

    async def _compose(self, exchange: Exchange) -> None:
        """Join files into one, which takes its place at once; then the parts go."""
        wanted = Fields(decoded(await exchange.body.whole(_COMPOSE_LIMIT)))
        sources, destination = wanted.texts("source_paths"), wanted.text("destination")
        if not sources or not destination:
            raise Refused(400, "A composition names 'source_paths', a list of paths, and 'destination', a path.")
        user = self._user(wanted.text("username") or None)
        place = _path(user, destination)
        paths = [_path(user, each) for each in sources]
        if place in paths:
            raise Refused(400, "The destination cannot be one of the sources.")
        await _join(exchange, user, paths, place)
        await exchange.reply_json(200, _written(place))


def of_os(error: OSError) -> Refused:
    """Return how a failed system call is told."""
    status = next((status for status, numbers in _STATUS.items() if error.errno in numbers), 500)
    name = f": {printable(error.filename)}" if isinstance(error.filename, str) else ""
    return Refused(status, f"{error.strerror or error}{name}.")


def _path(user: User, text: str) -> str:
    if not text:
        raise Refused(400, "Name the file in the query: ?path=…")
    return user.path(text)


def _regular(fd: int, path: str) -> os.stat_result:
    """Raises Refused where the open file is none that has contents."""
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        raise Refused(400, f"{printable(path)} is {'a directory' if stat.S_ISDIR(facts.st_mode) else 'no regular file'}.")
    return facts


def _wants_gzip(headers: Mapping[str, str]) -> bool:
    """Whether the client asks for gzip and for nothing else.

    HTTP libraries offer a list of codings unasked; a local file is faster as it is.
    """
    coding, _, quality = headers.get("accept-encoding", "").replace(" ", "").lower().partition(";")
    plain = not any(name in headers for name in ("range", "if-modified-since", "if-none-match", "if-range"))
    return coding == "gzip" and quality not in ("q=0", "q=0.0") and plain


async def _send_sized(exchange: Exchange, fd: int, size: int, headers: dict[str, str]) -> None:
    start, end, status = 0, size, 200
    wanted = exchange.head.headers.get("range")
    if wanted is not None and exchange.head.headers.get("if-range", headers["Last-Modified"]) == headers["Last-Modified"]:
        found = _range(wanted, size)
        if found is not None:
            start, end = found
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Accept-Ranges"] = "bytes"
    await exchange.begin_sized(status, end - start, headers)
    if exchange.head.method != "HEAD" and await exchange.channel.send_file(fd, start, end - start) != end - start:
        raise ConnectionAbortedError("the file became shorter meanwhile")


def _range(text: str, size: int) -> tuple[int, int] | None:
    """Return the part that a Range header asks for; None where it asks for several, or in no way that we know.

    Raises:
        Refused: 416, there is no such part.
    """
    unit, _, spec = text.partition("=")
    first, dash, last = spec.strip().partition("-")
    if (
        unit.strip() != "bytes"
        or not dash
        or not all(each == "" or (each.isascii() and each.isdigit() and len(each) < 19) for each in (first, last))
    ):
        return None
    if not first and not last:
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < int(first):
        return None
    if start >= size:
        raise Refused(416, f"The file has {size} bytes.", {"Content-Range": f"bytes */{size}"})
    return start, end


async def _send_pieces(exchange: Exchange, fd: int, headers: dict[str, str]) -> None:
    """Send a file whose length in the reply is not known before: compressed, or one that the kernel makes up as it is read."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _ZIP) if _wants_gzip(exchange.head.headers) else None
    if packer is not None:
        headers["Content-Encoding"] = "gzip"
    piece = os.read(fd, PIECE)  # before the reply begins: it may fail
    await exchange.begin(200, headers)
    while piece:
        data = packer.compress(piece) if packer else piece
        if data:
            await exchange.chunk(data)
        await exchange.loop.turn()
        piece = os.read(fd, PIECE)
    if packer is not None:
        await exchange.chunk(packer.flush())
    await exchange.end()


def _reader(exchange: Exchange) -> Read:
    """Return what reads the body's next piece, unpacked if it comes packed."""

    async def plain() -> bytes:
        await exchange.loop.turn()
        with exchange.loop.limit(BODY_TIMEOUT):
            return await exchange.body.read()

    coding = exchange.head.headers.get("content-encoding", "identity").lower()
    if coding == "identity":
        return plain
    if coding != "gzip":
        raise Refused(415, "A body can be packed with gzip, or not at all.")
    return _Unpacked(plain).read


class _Unpacked:
    """A gzip stream in pieces of at most PIECE bytes, however well it was packed."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._unpacker = zlib.decompressobj(_ZIP)
        self._begun = False

    async def read(self) -> bytes:
        """Raises Refused where it is no gzip, or not all of one."""
        while True:
            data = self._unpacker.unconsumed_tail or await self._read()
            if not data:
                if self._begun and not self._unpacker.eof:
                    raise Refused(400, "The gzip stream ends in the middle.")
                return b""
            self._begun = True
            try:
                piece = self._unpacker.decompress(data, PIECE)
                if self._unpacker.eof and (rest := self._unpacker.unused_data):
                    self._unpacker = zlib.decompressobj(_ZIP)  # gzip streams may follow one another
                    piece += self._unpacker.decompress(rest, PIECE)
            except zlib.error:
                raise Refused(400, "The body is not what its Content-Encoding says: gzip.") from None
            if piece:
                return piece


async def _receive(read: Read, user: User, path: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Write what `read` brings to the file at `path`; return what the reply says of it."""
    held: list[bytes] = []
    size = 0
    while size < HELD and (piece := await read()):
        held.append(piece)
        size += len(piece)
    fd, made = _open(user, path)
    try:
        for piece in held:
            _write(fd, piece)
        while size >= HELD and (piece := await read()):
            _write(fd, piece)
        with Acting(user):
            write_metadata(fd, metadata)
    except BaseException:
        if made:
            _remove(user, path)
        raise
    finally:
        os.close(fd)
    found = _written(path)
    if metadata:
        found["metadata"] = dict(metadata) if read_metadata_of(user, path) == dict(metadata) else {}
    return found


def read_metadata_of(user: User, path: str) -> dict[str, str]:
    """Return what is really stored."""
    with Acting(user):
        return read_metadata(path)


def _written(path: str) -> dict[str, Any]:
    return {"path": printable(path), "name": printable(os.path.basename(path)), "type": "file"}  # noqa: PTH119 (pathlib takes 6 ms)


def _open(user: User, path: str) -> tuple[int, bool]:
    """Return an empty file at `path`, open, and whether it is new; directories above it are made."""
    with Acting(user):
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 (pathlib takes 6 ms to import)
        try:
            return os.open(path, _UP | os.O_EXCL, 0o666), True
        except FileExistsError:
            fd = os.open(path, _UP, 0o666)
    try:
        _regular(fd, path)
        os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd, False


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _remove(user: User, path: str) -> None:
    try:
        with Acting(user):
            os.unlink(path)  # noqa: PTH108 (pathlib takes 6 ms to import)
    except OSError:
        return


async def _join(exchange: Exchange, user: User, paths: list[str], place: str) -> None:
    """Copy the files at `paths` one after the other into a new one, put that at `place`, and remove them."""
    temporary = f"{place}.{os.urandom(8).hex()}.part"
    target, _ = _open(user, temporary)
    try:
        for path in paths:
            with Acting(user):
                source = os.open(path, _DOWN)
            try:
                _regular(source, path)
                while os.copy_file_range(source, target, 8 * PIECE):
                    await exchange.loop.turn()
            finally:
                os.close(source)
        with Acting(user):
            os.rename(temporary, place)  # noqa: PTH104 (pathlib takes 6 ms to import)
    except BaseException:
        _remove(user, temporary)
        raise
    finally:
        os.close(target)
    for path in paths:
        _remove(user, path)
