"""Request heads and their parts, as pure code: bytes in, a `Head` out, or a `Refused` that says what is wrong."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REASONS = {
    100: "Continue",
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    507: "Insufficient Storage",
}
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class Refused(Exception):  # noqa: N818 (a refusal is an answer, not a failure)
    """A request that is answered with `status` and the message; `headers` are added to the answer."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


class Head:
    """The request line and headers. Header names are lower-case; repeated headers are joined by commas.

    `length` is the body's size in bytes, or None where it comes in chunks.
    """

    __slots__ = ("headers", "keep_alive", "length", "method", "path", "query", "version")

    def __init__(self, method: str, target: str, version: int, headers: dict[str, str]) -> None:
        """Raises Refused where the headers contradict one another."""
        path, _, query = target.partition("?")
        self.method = method
        self.path = "/" + "/".join(filter(None, unquote(path).split("/")))  # clients with a base URL that ends in / send two
        self.query = _query(query)
        self.version = version
        self.headers = headers
        self.length = _length(headers)
        connection = headers.get("connection", "").lower()
        self.keep_alive = "keep-alive" in connection if version == 0 else "close" not in connection


def parse(raw: bytes) -> Head:
    """Return the head that `raw` (up to, without, the empty line) is.

    Raises:
        Refused: it is none.
    """
    lines = raw.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0") or not parts[0].isalpha() or parts[1][:1] != b"/":
        raise Refused(400, "This is not an HTTP/1.1 request.")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name or not _TOKEN.issuperset(name) or b"\n" in value or b"\r" in value or b"\0" in value:
            raise Refused(400, "One of the request's headers is malformed.")
        key, text = name.decode("ascii"), value.strip(b" \t").decode("utf-8", "replace")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return Head(parts[0].decode("ascii"), parts[1].decode("latin-1"), int(parts[2][-1:]), headers)


def _length(headers: dict[str, str]) -> int | None:
    """Return the body's length as the headers say it; two answers to that question are refused (request smuggling)."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise Refused(400, "The body's length is unclear: send either Content-Length or Transfer-Encoding: chunked.")
        return None
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        raise Refused(400, "Content-Length must be one number.")
    return int(length)


def unquote(text: str) -> str:
    """Return `text` with its percent escapes decoded; bytes that are not UTF-8 become surrogates, as in `os.fsdecode`."""
    first, *rest = text.encode("latin-1", "replace").split(b"%")
    decoded = bytearray(first)
    for part in rest:
        try:
            decoded += bytes((int(part[:2], 16),)) if len(part) >= 2 and part[:2].isalnum() else b"%" + part[:2]
        except ValueError:
            decoded += b"%" + part[:2]
        decoded += part[2:]
    return decoded.decode("utf-8", "surrogateescape")


def _query(text: str) -> dict[str, str]:
    """Return the parameters of a query string; of repeated ones the first."""
    found: dict[str, str] = {}
    for part in filter(None, text.split("&")):
        name, _, value = part.partition("=")
        found.setdefault(unquote(name.replace("+", " ")), unquote(value.replace("+", " ")))
    return found


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return what a header such as `form-data; name="file"; filename="a;b"` says: its value and its parameters, lower-case names."""
    kind, _, rest = value.partition(";")
    found: dict[str, str] = {}
    while rest:
        name, _, rest = rest.strip().partition("=")
        if rest.startswith('"'):
            text, rest = _quoted(rest)
        else:
            text, _, rest = rest.partition(";")
        found.setdefault(name.strip(" ;").lower(), text.strip() if not text.startswith('"') else text)
    return kind.strip().lower(), found


def _quoted(text: str) -> tuple[str, str]:
    """Return the string that begins with the quote at the start of `text`, and what follows its end."""
    out: list[str] = []
    at = 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and at + 1 < len(text) and text[at + 1] in '\\"':
            at += 1
        out.append(text[at])
        at += 1
    return "".join(out), text[at + 1 :].lstrip().removeprefix(";")


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return the body of a plain HTTP error, as envd's REST part has it."""
    return {"code": status, "message": message}
