"""Request and response heads: read what they say, refuse what is ambiguous, write our own. Pure, no IO.

Every head that leaves is written anew from checked parts, so that no two parsers can read one message in two ways.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandkit.wire.errors import HEADERS_TOO_LARGE, INVALID_REQUEST, METHOD_NOT_ALLOWED, TOO_LARGE, ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandyard.ingress.limits import IngressLimits

Header = tuple[bytes, bytes]

VENDORS = (b"e2b", b"ppio", b"novita")
_CREDENTIALS = frozenset({b"x-api-key", b"x-access-token", b"e2b-traffic-access-token"})
_ROUTING = frozenset(vendor + suffix for vendor in VENDORS for suffix in (b"-sandbox-id", b"-sandbox-port"))
_OURS = frozenset({b"x-internal-token", b"x-sandbox-id", b"x-request-id"})
_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_REQUEST_FRAME = frozenset({b"content-length", b"expect", b"host"})
_SPECIAL = _CREDENTIALS | _ROUTING | _OURS | _HOP | _REQUEST_FRAME | {b"authorization"}
_SINGLE = _CREDENTIALS | _ROUTING | {b"host", b"content-length", b"expect", b"transfer-encoding"}
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"upgrade", b""})
_NONE: frozenset[bytes] = frozenset()
_REPLY_DROPPED = _HOP | {b"content-length", b"x-request-id"}

_ID_PREFIX = b"%020x" % random.getrandbits(80)  # of this process; request ids are names, no secrets
_ID_NUMBERS = itertools.count(1)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_API_KEY = re.compile(rb"(?:sk-|e2b_)(?:[0-9a-f]{92}|[0-9a-f]{40})", re.IGNORECASE)
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_TARGET = re.compile(rb"/[\x21-\x7e\x80-\xff]*")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


@dataclass(slots=True, kw_only=True)
class RequestHead:
    """A request head after inspection. `kept` are the end-to-end headers, `special` what the ingress itself reads."""

    method: bytes
    target: bytes
    minor: int
    host: bytes
    kept: list[Header]
    special: dict[bytes, list[bytes]]
    length: int | None
    chunked: bool
    keep_alive: bool
    websocket: bool

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.length)

    @property
    def expects_continue(self) -> bool:
        return self.minor == 1 and self.has_body and b"expect" in self.special

    @property
    def plain(self) -> bool:
        """Whether the connection goes on after it as before: HTTP/1.1, no chunks, no Upgrade, no Expect, no close."""
        return self.minor == 1 and self.keep_alive and not self.chunked and not self.special.keys() & {b"upgrade", b"expect"}

    def first(self, name: bytes) -> str | None:
        """Return a special header's value as text, or None."""
        values = self.special.get(name)
        return values[0].decode("latin-1") if values else None


@dataclass(slots=True)
class ResponseHead:
    """A response head after inspection."""

    status: int
    lines: bytes
    """Status line and end-to-end headers, without Content-Length."""
    length: int | None
    chunked: bool
    keep_alive: bool

    @property
    def bodiless(self) -> bool:
        return self.status in (204, 304) or self.status < 200


def inspect_request(method: bytes, target: bytes, version: str, headers: list[Header], limits: IngressLimits) -> RequestHead:
    """Return the head, or raise.

    Raises:
        ApiError: `invalid_request` for anything ambiguous (RFC 9112 §6.3, §11.2), `method_not_allowed`, `headers_too_large`.
    """
    _check_line(method, version, headers, limits)
    kept, special = _sort_headers(headers)
    nominated = _tokens(special[b"connection"]) if b"connection" in special else _NONE
    if nominated and not nominated <= _PLAIN_CONNECTION:
        kept = [pair for pair in kept if pair[0] not in nominated]
    minor = 1 if version == "1.1" else 0
    path, host = _resolve_target(target, _read_host(special, minor))
    length, chunked = _read_framing(special, minor)
    return RequestHead(
        method=method,
        target=path,
        minor=minor,
        host=host,
        kept=kept,
        special=special,
        length=length,
        chunked=chunked,
        keep_alive=b"close" not in nominated and (minor == 1 or b"keep-alive" in nominated),
        websocket=_is_websocket(method, minor, nominated, special) and not (chunked or length),
    )


def _is_websocket(method: bytes, minor: int, nominated: frozenset[bytes], special: dict[bytes, list[bytes]]) -> bool:
    """Tell whether this asks for the one protocol that we switch to; h2c would carry requests past our checks."""
    return minor == 1 and method == b"GET" and b"upgrade" in nominated and _tokens(special.get(b"upgrade", [])) == frozenset({b"websocket"})


def _check_line(method: bytes, version: str, headers: list[Header], limits: IngressLimits) -> None:
    if version not in ("1.1", "1.0"):
        raise ApiError(INVALID_REQUEST, "Speak HTTP/1.1 or HTTP/1.0")
    if method == b"CONNECT":
        raise ApiError(METHOD_NOT_ALLOWED, "The ingress is no tunnel: CONNECT is not allowed")
    if len(headers) > limits.headers:
        raise ApiError(HEADERS_TOO_LARGE, f"A request may have {limits.headers} headers")


def _sort_headers(headers: list[Header]) -> tuple[list[Header], dict[bytes, list[bytes]]]:
    kept: list[Header] = []
    special: dict[bytes, list[bytes]] = {}
    for pair in headers:
        name = pair[0]
        if name in _SPECIAL:
            special.setdefault(name, []).append(pair[1])
        elif b"_" not in name or name.replace(b"_", b"-") not in _SPECIAL:  # CGI-like servers read both as one name
            kept.append(pair)
    for name, values in special.items():
        if len(values) > 1 and name in _SINGLE:
            raise ApiError(INVALID_REQUEST, f"The header {name.decode('latin-1')} must not be given more than once")
    return kept, special


def _tokens(values: list[bytes]) -> frozenset[bytes]:
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))


def _read_host(special: dict[bytes, list[bytes]], minor: int) -> bytes:
    values = special.get(b"host")
    if not values:
        if minor == 1:
            raise ApiError(INVALID_REQUEST, "HTTP/1.1 requests need a Host header")
        return b""
    if values[0] and not _HOST.fullmatch(values[0]):
        raise ApiError(INVALID_REQUEST, "The Host header is malformed")
    return values[0]


def _resolve_target(target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Return path with query and the host that is asked for, from origin-form, absolute-form or `*`."""
    absolute = None if target.startswith(b"/") else _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        authority, target = absolute.groups()
        if host and authority.lower() != host.lower():
            raise ApiError(INVALID_REQUEST, "The request's target and its Host header name different hosts")
        host = authority
        target = target if target.startswith(b"/") else b"/" + target
    target = target.partition(b"#")[0]
    if target != b"*" and not _TARGET.fullmatch(target):
        raise ApiError(INVALID_REQUEST, "The request's target must be a path that starts with /")
    return target, host


def _read_framing(special: dict[bytes, list[bytes]], minor: int) -> tuple[int | None, bool]:
    lengths, codings = special.get(b"content-length"), special.get(b"transfer-encoding")
    if codings is not None:
        if lengths is not None or minor == 0 or codings[0].strip().lower() != b"chunked":
            raise ApiError(INVALID_REQUEST, "Frame the body with either Content-Length or `Transfer-Encoding: chunked`")
        return None, True
    if lengths is None:
        return None, False
    if not _DIGITS.fullmatch(lengths[0]):
        raise ApiError(INVALID_REQUEST, "Content-Length must be a decimal number")
    return int(lengths[0]), False


def body_too_large(limit: int) -> ApiError:
    return ApiError(TOO_LARGE, f"The body is larger than the {limit} bytes that one request may carry")


def head_too_large(limits: IngressLimits) -> ApiError:
    return ApiError(HEADERS_TOO_LARGE, f"The request's head is larger than {limits.head_bytes} bytes")


def request_id_of(head: RequestHead) -> bytes | None:
    """Return the caller's own request id if it is sane, else None."""
    values = head.special.get(b"x-request-id")
    return values[0] if values and len(values) == 1 and _REQUEST_ID.fullmatch(values[0]) else None


def new_request_id() -> bytes:
    return b"%b%012x" % (_ID_PREFIX, next(_ID_NUMBERS))


def bearer_of(value: bytes) -> str | None:
    """Return the token of an `Authorization: Bearer` value, or None."""
    scheme, _, token = value.strip().partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else None


def _basic_of(value: bytes) -> bytes:
    scheme, _, payload = value.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(payload.strip() + b"==")
    except binascii.Error:
        return b""


def holds_platform_key(value: bytes, is_platform_key: Callable[[str], bool]) -> bool:
    """Tell whether a platform key stands anywhere in `value`, also inside Basic credentials."""
    found = _API_KEY.findall(value) + _API_KEY.findall(_basic_of(value))
    return any(is_platform_key(key.decode("latin-1").lower()) for key in found)


def is_platform_authorization(value: bytes, is_platform_key: Callable[[str], bool]) -> bool:
    bearer = bearer_of(value)
    return (bearer is not None and is_platform_key(bearer.lower())) or holds_platform_key(value, is_platform_key)


def _may_hold_key(data: bytes) -> bool:
    """Tell quickly what `_API_KEY` would tell slowly: most requests hold nothing like a key."""
    lowered = data.lower()
    return b"sk-" in lowered or b"e2b_" in lowered


def render_request(
    head: RequestHead, *, target: bytes, host: bytes, identity: bytes, is_platform_key: Callable[[str], bool]
) -> tuple[bytes, bool]:
    """Return the head for the sandbox, and whether it had to be searched for platform keys.

    The head is ours for framing and identity, the caller's for the rest, and holds no platform credential.

    What differs from request to request, length and id, is added by `finish_request`. `identity` are whole header lines
    (`X-Internal-Token`, `X-Sandbox-Id`).

    Raises:
        ApiError: the URL holds a platform key, which cannot be taken off without changing what is asked for.
    """
    lines = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (head.method, target, host)]
    lines += [b"%b: %b\r\n" % pair for pair in head.kept]
    for value in head.special.get(b"authorization", ()):
        if not is_platform_authorization(value, is_platform_key):
            lines.append(b"authorization: %b\r\n" % value)
    suspect = _may_hold_key(b"".join(lines))
    if suspect:
        if holds_platform_key(lines[0], is_platform_key):
            raise ApiError(INVALID_REQUEST, "An API key must not stand in a URL; send it as X-API-Key")
        lines = [line for line in lines if not holds_platform_key(line, is_platform_key)]
    if head.chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if head.websocket:
        lines.append(b"connection: Upgrade\r\nupgrade: websocket\r\n")
    lines.append(identity)
    return b"".join(lines), suspect or b"authorization" in head.special


def finish_request(lines: bytes, length: int | None, request_id: bytes) -> bytes:
    """Return what `render_request` began, as a whole head."""
    if length is None:
        return b"%bx-request-id: %b\r\n\r\n" % (lines, request_id)
    return b"%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n" % (lines, length, request_id)


def inspect_response(status: int, reason: bytes, version: str, headers: list[Header]) -> ResponseHead:
    """Return the head of a sandbox's response.

    Raises:
        ValueError: its framing is ambiguous; the connection cannot be trusted.
    """
    length: bytes | None = None
    codings: list[bytes] = []
    options = _NONE
    for name, value in headers:
        if name == b"content-length":
            if not _DIGITS.fullmatch(value) or length not in (None, value):
                message = "malformed Content-Length"
                raise ValueError(message)
            length = value
        elif name == b"transfer-encoding":
            codings.append(value.strip().lower())
        elif name == b"connection":
            options |= _tokens([value])
    if codings and (length is not None or codings != [b"chunked"]):
        message = "ambiguous framing"
        raise ValueError(message)
    dropped = _REPLY_DROPPED | options if options else _REPLY_DROPPED
    lines = [b"%b: %b\r\n" % pair for pair in headers if pair[0] not in dropped]
    return ResponseHead(
        status=status,
        lines=b"HTTP/1.1 %d %b\r\n%b" % (status, reason, b"".join(lines)),
        length=None if length is None else int(length),
        chunked=bool(codings),
        keep_alive=b"close" not in options and (version == "1.1" or b"keep-alive" in options),
    )


def render_response(head: ResponseHead, length: int | None, *, request_id: bytes, chunked: bool, close: bool, minor: int) -> bytes:
    """Return the head for the client: the sandbox's end-to-end headers under our framing."""
    lines = [head.lines]
    if length is not None:
        lines.append(b"content-length: %d\r\n" % length)
    if head.status == 101:
        lines.append(b"connection: Upgrade\r\nupgrade: websocket\r\n")
    elif close:
        lines.append(b"connection: close\r\n")
    elif minor == 0:
        lines.append(b"connection: keep-alive\r\n")
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(b"x-request-id: %b\r\n\r\n" % request_id)
    return b"".join(lines)
