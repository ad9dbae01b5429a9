"""What sandboxes printed: read from their files while those are there, and kept of the ones that ended last."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

from sandkit.guest import output

if TYPE_CHECKING:
    from pathlib import Path

_KEPT = 64


class Outputs:
    """What stands behind `Supervision.output`."""

    def __init__(self) -> None:
        self._ended: OrderedDict[str, tuple[bytes, int]] = OrderedDict()

    def keep(self, sandbox_id: str, file: Path) -> None:
        """Remember the output of a sandbox whose file is about to go."""
        with suppress(OSError):
            self._ended[sandbox_id] = output.read(file)
        while len(self._ended) > _KEPT:
            self._ended.popitem(last=False)

    def read(self, sandbox_id: str, file: Path, offset: int) -> tuple[bytes, int]:
        """See `ports.Supervision.output`."""
        try:
            return output.read(file, offset)
        except OSError:
            data, end = self._ended.get(sandbox_id, (b"", offset))
            return data[max(0, len(data) - max(0, end - offset)) :], end
