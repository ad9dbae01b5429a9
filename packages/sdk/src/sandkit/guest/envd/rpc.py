"""Connect's protocol with JSON messages: unary, server-streaming and client-streaming calls (connectrpc.com/docs/protocol).

A frame of a stream is `[flags: 1 byte][length: 4 bytes, big-endian][JSON]`; the last one has flag 2 and holds `{}` or the error.
"""

from __future__ import annotations

import binascii
import struct

from sandkit.guest.envd.heads import Refused
from sandkit.guest.envd.http import BODY_TIMEOUT
from sandkit.guest.envd.users import NoSuchUser, NotMapped
from sandkit.guest.light import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import Any

    from sandkit.guest.envd.http import Exchange
    from sandkit.guest.envd.loop import Loop
    from sandkit.guest.envd.users import User, Users

    Json = dict[str, Any]
    Unary = Callable[["Call", Json], Awaitable[Json]]
    ServerStream = Callable[["Call", Json, "Stream"], Awaitable[None]]
    ClientStream = Callable[["Call", AsyncIterator[Json]], Awaitable[Json]]

MESSAGE_LIMIT = 16 * 1024 * 1024  # bytes of one message
KEEPALIVE = 90.0  # seconds, where the client asks for nothing else
_END = 2
_COMPRESSED = 1
_FRAME = struct.Struct(">BI")
_UNARY_TYPE = "application/json"
_STREAM_TYPE = "application/connect+json"
_STATUS = {
    "canceled": 499,
    "unknown": 500,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "data_loss": 500,
    "unauthenticated": 401,
}
_OF_STATUS = {400: "invalid_argument", 413: "resource_exhausted"}


class RpcError(Exception):
    """What a call is answered with: one of Connect's codes and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def to_wire(self) -> Json:
        return {"code": self.code, "message": self.message}


class Call:
    """What every method may know: who asks (`user`), how long it may take (seconds or None), how often to say that we live."""

    __slots__ = ("_exchange", "_users", "deadline", "keepalive", "loop")

    def __init__(self, exchange: Exchange, users: Users) -> None:
        """Raises RpcError where a header is malformed."""
        headers = exchange.head.headers
        self.loop: Loop = exchange.loop
        self._exchange = exchange
        self._users = users
        self.deadline = _seconds(headers, "connect-timeout-ms", 1000.0)
        self.keepalive = _seconds(headers, "keepalive-ping-interval", 1.0) or KEEPALIVE

    @property
    def user(self) -> User:
        """Whom the request acts as.

        Raises:
            RpcError: there is no such user, or this sandbox cannot act as it.
        """
        try:
            return self._users.find(_basic_name(self._exchange.head.headers.get("authorization", "")))
        except NoSuchUser as error:
            raise RpcError("unauthenticated", str(error)) from None
        except NotMapped as error:
            raise RpcError("permission_denied", str(error)) from None


def _seconds(headers: Mapping[str, str], name: str, scale: float) -> float | None:
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise RpcError("invalid_argument", f"The header {name} must be a number, not {text[:40]!r}.")
    return int(text) / scale or None


def _basic_name(authorization: str) -> str | None:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return binascii.a2b_base64(rest.strip(), strict_mode=True).decode().partition(":")[0] or None
    except ValueError:
        raise RpcError("unauthenticated", "The Authorization header is malformed.") from None


class Stream:
    """The reply of a streaming call: messages, each with the client before the next one is made, and one end."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def begin(self) -> None:
        await self._exchange.begin(200, {"Content-Type": _STREAM_TYPE})

    async def send(self, message: Json) -> None:
        await self.send_json(encode(message).encode())

    async def send_json(self, message: bytes) -> None:
        """Send a message that is JSON already."""
        await self._exchange.chunk(_FRAME.pack(0, len(message)) + message)

    async def end(self, error: RpcError | None) -> None:
        message = encode({} if error is None else {"error": error.to_wire()}).encode()
        await self._exchange.chunk(_FRAME.pack(_END, len(message)) + message)
        await self._exchange.end()


class Services:
    """Methods by path (`/package.Service/Method`)."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._unary: dict[str, Unary] = {}
        self._server: dict[str, ServerStream] = {}
        self._client: dict[str, ClientStream] = {}

    def add(
        self,
        service: str,
        unary: Mapping[str, Unary],
        server: Mapping[str, ServerStream] | None = None,
        client: Mapping[str, ClientStream] | None = None,
    ) -> None:
        for methods, table in ((unary, self._unary), (server or {}, self._server), (client or {}, self._client)):
            table.update({f"/{service}/{name}": method for name, method in methods.items()})  # pyright: ignore[reportCallIssue, reportArgumentType] (each with its own table)

    async def serve(self, exchange: Exchange) -> None:
        """Answer a call, whatever it is.

        Raises:
            Refused: it is no POST, or not in JSON.
        """
        path = exchange.head.path
        if exchange.head.method != "POST":
            raise Refused(405, "Calls are made with POST.", {"Allow": "POST"})
        if path in self._unary:
            await self._serve_unary(exchange, self._unary[path])
        elif path in self._server or path in self._client:
            await self._serve_stream(exchange, path)
        else:
            await _fail(exchange, RpcError("unimplemented", f"There is no method {path[:200]}."))

    async def _serve_unary(self, exchange: Exchange, method: Unary) -> None:
        _expect(exchange, _UNARY_TYPE, "content-encoding")
        try:
            call = Call(exchange, self._users)
            with call.loop.limit(call.deadline):
                answer = await method(call, await _message(exchange))
        except TimeoutError:
            await _fail(exchange, RpcError("deadline_exceeded", "The call took longer than its deadline."))
        except RpcError as error:
            await _fail(exchange, error)
        except ValueError as error:
            await _fail(exchange, RpcError("invalid_argument", f"{error}"))
        except OSError as error:
            if exchange.channel.gone and isinstance(error, ConnectionError):
                raise
            await _fail(exchange, of_os(error))
        else:
            await exchange.reply_json(200, answer)

    async def _serve_stream(self, exchange: Exchange, path: str) -> None:
        _expect(exchange, _STREAM_TYPE, "connect-content-encoding")
        stream = Stream(exchange)
        outcome: RpcError | None = None
        try:
            call = Call(exchange, self._users)
            with call.loop.limit(call.deadline):
                await self._run_stream(exchange, path, call, stream)
        except TimeoutError:
            outcome = RpcError("deadline_exceeded", "The call took longer than its deadline.")
        except RpcError as error:
            outcome = error
        except ValueError as error:
            outcome = RpcError("invalid_argument", f"{error}")
        except Refused as refused:
            outcome = RpcError(_OF_STATUS.get(refused.status, "unknown"), refused.message)
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            outcome = of_os(error)
        finally:
            exchange.channel.watcher = None
        with exchange.loop.limit(BODY_TIMEOUT):
            if not exchange.begun:
                await stream.begin()
            await stream.end(outcome)

    async def _run_stream(self, exchange: Exchange, path: str, call: Call, stream: Stream) -> None:
        if path in self._client:
            answer = await self._client[path](call, _frames(exchange))
            await stream.begin()
            await stream.send(answer)
            return
        message: Json | None = None
        async for frame in _frames(exchange):
            if message is not None:
                raise RpcError("unimplemented", "This method takes one message.")
            message = frame
        if message is None:
            raise RpcError("unimplemented", "This method takes one message; there was none.")
        exchange.channel.watcher = call.loop.current
        if exchange.channel.gone:
            raise ConnectionResetError("the client has left")
        await self._server[path](call, message, stream)


def of_os(error: OSError) -> RpcError:
    """Return how a failed system call is told."""
    import errno  # noqa: PLC0415 (most calls do not fail)

    codes = {
        "not_found": (errno.ENOENT,),
        "already_exists": (errno.EEXIST,),
        "permission_denied": (errno.EACCES, errno.EPERM, errno.EROFS),
        "resource_exhausted": (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
        "invalid_argument": (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.ENOEXEC, errno.E2BIG),
        "failed_precondition": (errno.ENOTEMPTY, errno.EBUSY, errno.EXDEV, errno.ETXTBSY),
    }
    code = next((code for code, numbers in codes.items() if error.errno in numbers), "internal")
    name = error.filename if isinstance(error.filename, str) else ""
    return RpcError(code, f"{error.strerror or error}{': ' if name else ''}{printable(name)}.")


def printable(text: str) -> str:
    """Return `text` with what is not Unicode replaced: file names may be any bytes, JSON may not."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _expect(exchange: Exchange, kind: str, coding: str) -> None:
    found = exchange.head.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != kind:
        raise Refused(415, f"This method is called with Content-Type {kind}.", {"Accept-Post": kind})
    if exchange.head.headers.get(coding, "identity") != "identity":
        raise Refused(415, "Compressed messages are not taken here.")


async def _fail(exchange: Exchange, error: RpcError) -> None:
    await exchange.reply_json(_STATUS[error.code], error.to_wire())


async def _message(exchange: Exchange) -> Json:
    try:
        with exchange.loop.limit(BODY_TIMEOUT):
            raw = await exchange.body.whole(MESSAGE_LIMIT)
    except Refused as refused:
        raise RpcError(_OF_STATUS.get(refused.status, "unknown"), refused.message) from None
    return decoded(raw or b"{}")


def decoded(raw: bytes) -> Json:
    """Return the JSON object that a client sent.

    Raises:
        RpcError: it is something else.
    """
    try:
        message = decode(raw.decode())
    except (ValueError, RecursionError):
        raise RpcError("invalid_argument", "The message is not JSON.") from None
    if not isinstance(message, dict):  # pyright: ignore[reportUnnecessaryIsInstance] (what a client sends is anything)
        raise RpcError("invalid_argument", "The message is not a JSON object.")
    return message


async def _frames(exchange: Exchange) -> AsyncIterator[Json]:
    """Yield the messages of a streamed request as they come."""
    kept = bytearray()
    while data := await exchange.body.read():
        kept += data
        while len(kept) >= _FRAME.size:
            flags, size = _FRAME.unpack_from(kept)
            if size > MESSAGE_LIMIT:
                raise RpcError("resource_exhausted", f"A message is larger than {MESSAGE_LIMIT} bytes.")
            if len(kept) < _FRAME.size + size:
                break
            message = bytes(kept[_FRAME.size : _FRAME.size + size])
            del kept[: _FRAME.size + size]
            if flags & _COMPRESSED:
                raise RpcError("unimplemented", "Compressed messages are not taken here.")
            if not flags & _END:
                yield decoded(message)
    if kept:
        raise RpcError("invalid_argument", "The stream ends in the middle of a message.")


class Fields:
    """Reading a message that a client made: a value of another kind than expected is its mistake."""

    def __init__(self, message: Json) -> None:
        self._message = message

    def text(self, name: str, default: str = "") -> str:
        return self._typed(name, str, default)

    def flag(self, name: str, default: bool = False) -> bool:
        return self._typed(name, bool, default)

    def child(self, name: str) -> Fields:
        return Fields(self._typed(name, dict, {}))

    def has(self, name: str) -> bool:
        return self._message.get(name) is not None

    def number(self, name: str, default: int = 0) -> int:
        """Return a number between 0 and 2**32; protobuf's JSON may write it as a string."""
        value = self._message.get(name)
        if value is None:
            return default
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 11:
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
            raise RpcError("invalid_argument", f"{name!r} must be a number from 0 to 2**32 - 1.")
        return value

    def texts(self, name: str) -> list[str]:
        found = self._typed(name, list, [])
        if not all(isinstance(each, str) for each in found):
            raise RpcError("invalid_argument", f"{name!r} must be a list of strings.")
        return found

    def mapping(self, name: str) -> dict[str, str]:
        found = self._typed(name, dict, {})
        if not all(isinstance(value, str) for value in found.values()):
            raise RpcError("invalid_argument", f"{name!r} must map strings to strings.")
        return found

    def data(self, name: str) -> bytes:
        """Return bytes, which come in base64 (either alphabet, padded or not)."""
        text = self.text(name).replace("-", "+").replace("_", "/")
        try:
            return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True) if text else b""
        except ValueError:
            raise RpcError("invalid_argument", f"{name!r} must be base64.") from None

    def _typed(self, name: str, kind: type, default: Any) -> Any:
        value = self._message.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise RpcError("invalid_argument", f"{name!r} has a value of the wrong kind.")
        return value
