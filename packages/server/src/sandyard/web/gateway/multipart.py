"""Uploads as forms (RFC 7578), read as they come: small fields first, then one file, whose bytes are held nowhere."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from sandkit.wire.gateway import UNSUPPORTED_MEDIA_TYPE, VALIDATION_ERROR, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from fastapi import Request

FILE = "file"
_PARTS = 20
_HEAD_BYTES = 16 * 1024
_FIELD_BYTES = 4096


@dataclass(slots=True)
class Form:
    """What came before the file's bytes, and these. `media` is None where the sender named none."""

    fields: dict[str, str]
    name: str
    media: str | None
    chunks: AsyncGenerator[bytes]


@dataclass(slots=True)
class _Part:
    name: str = ""
    file: str | None = None
    media: str | None = None
    value: bytearray = field(default_factory=bytearray)


async def read_form(request: Request) -> Form:
    """Return the form as soon as its file begins.

    Raises:
        Refusal: UNSUPPORTED_MEDIA_TYPE (no form); VALIDATION_ERROR (no file, or more parts and larger heads than a form may have).
            Later, from `chunks`: VALIDATION_ERROR for a second file, a field behind the file, or an end before its time.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not 0 < len(options.get(b"boundary", b"")) <= 200:
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, "The body must be multipart/form-data with a boundary")
    reader = _Reader(options[b"boundary"])
    stream = request.stream()
    while reader.file is None:
        chunk = await anext(stream, b"")
        if not chunk:
            raise _invalid("the form has no file")
        reader.feed(chunk)
    return Form(
        fields={part.name: part.value.decode("utf-8", "replace") for part in reader.fields},
        name=reader.file.file or "",
        media=reader.file.media,
        chunks=_rest(reader, stream),
    )


async def _rest(reader: _Reader, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    while True:
        while reader.data:
            yield reader.data.popleft()
        if reader.ended:
            return
        chunk = await anext(stream, b"")
        if not chunk:
            raise _invalid("the form ends before its end")
        reader.feed(chunk)


class _Reader:
    """Turns the parser's calls into parts, within bounds."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: list[_Part] = []
        self.file: _Part | None = None
        self.data: deque[bytes] = deque()
        self.ended = False
        self._part = _Part()
        self._head: list[tuple[bytes, bytes]] = []
        self._name = bytearray()
        self._value = bytearray()
        self._head_bytes = 0
        self._parts = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._content,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            Refusal: VALIDATION_ERROR.
        """
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise _invalid(f"the form cannot be read: {str(error)[:200]}") from None

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise _invalid(f"the form has more than {_PARTS} parts")
        if self.file is not None:
            raise _invalid("the file must be the form's only one, and its last part")
        self._part, self._head, self._head_bytes = _Part(), [], 0

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += self._bounded(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._bounded(data[start:end])

    def _bounded(self, data: bytes) -> bytes:
        self._head_bytes += len(data)
        if self._head_bytes > _HEAD_BYTES:
            raise _invalid("a part's head is too large")
        return data

    def _header_end(self) -> None:
        self._head.append((bytes(self._name).lower(), bytes(self._value)))
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        head = dict(self._head)
        _, options = parse_options_header(head.get(b"content-disposition", b""))
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options or self._part.name == FILE:
            if self._part.name != FILE:
                raise _invalid(f"the file must be called {FILE!r}")
            self._part.file = _file_name(options.get(b"filename", b""))
            media = head.get(b"content-type", b"").decode("latin-1").strip()
            self._part.media = None if media in {"", "application/octet-stream"} else media
            self.file = self._part

    def _content(self, data: bytes, start: int, end: int) -> None:
        if self._part is self.file:
            self.data.append(data[start:end])
            return
        self._part.value += data[start:end]
        if len(self._part.value) > _FIELD_BYTES:
            raise _invalid("a field is too large")

    def _end(self) -> None:
        if self._part is not self.file:
            self.fields.append(self._part)

    def _finish(self) -> None:
        self.ended = True


def _file_name(raw: bytes) -> str:
    """Decode a name as browsers and httpx write it: UTF-8, with quotes and line ends as %22, %0D, %0A."""
    text = raw.decode("utf-8", "replace")
    for written, meant in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        text = text.replace(written, meant)
    return text


def _invalid(message: str) -> Refusal:
    return Refusal(VALIDATION_ERROR, message, pointer="/file")
