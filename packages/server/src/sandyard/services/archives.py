"""Tars that strangers wrote: bounds on what tarfile would take in beside the files, whatever they are compressed with."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER_BUDGET = 1024 * 1024
"""Bytes that may lie between two files: names, and what describes them."""
_EXTENSION_BYTES = 16 * 1024
"""The most that one extended header (PAX) may hold: two paths of 4096 bytes each are what a file can need."""
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_TOO_LARGE = "headers are larger than any real one's"


def header_type(work_limit: int, refuse: Callable[[str], Exception]) -> type[tarfile.TarInfo]:
    """Return a header for one archive that refuses extended headers which would take long to read, before they are read.

    `work_limit` is the most that the squares of their sizes may come to: tarfile before 3.11.10 and 3.12.6 needs that time
    (CVE-2024-6232). `refuse` makes what is raised.
    """
    work = 0

    class Header(tarfile.TarInfo):
        def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:  # tarfile names this as the method to override
            nonlocal work
            if self.type in _EXTENSIONS:
                work += self.size * self.size
                if self.size > _EXTENSION_BYTES or work > work_limit:
                    raise refuse(_TOO_LARGE)
            return super()._proc_member(archive)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType] (see above)

    return Header


class Budgeted:
    """Reads on only as far as the caller said it would: a header cannot make tarfile swallow gigabytes. `total` bounds all reading."""

    def __init__(self, stream: BinaryIO, total: int, refuse: Callable[[str], Exception]) -> None:
        self._stream = stream
        self._total = total
        self._refuse = refuse
        self.budget = HEADER_BUDGET

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.budget -= len(data)
        self._total -= len(data)
        if self.budget < 0 or self._total < 0:
            raise self._refuse(_TOO_LARGE)
        return data
