"""A saved state on disk: a directory with a layer of files per part of the sandbox, and `state.json`, which says what they are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from sandyard.domain.errors import BackendUnavailable

if TYPE_CHECKING:
    from pathlib import Path

NAME = "state.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`parts` are the directories beside it. `owners` says whose the files are on disk: "ids" as in the sandbox, or "server".

    `whole` are the parts that lie on nothing: those of a sandbox whose kernel refused an overlay.
    """

    format: int = FORMAT
    system: Literal["fixed", "writable"]
    image: str | None
    owners: Literal["ids", "server"]
    parts: tuple[str, ...]
    whole: tuple[str, ...] = ()
    size_bytes: int = 0

    def text(self) -> str:
        return json.dumps(asdict(self))


def read(directory: Path) -> State:
    """Return what the directory holds.

    Raises:
        BackendUnavailable: it is no saved sandbox, or one of another version.
    """
    try:
        fields: dict[str, Any] = json.loads((directory / NAME).read_text())
        fields["parts"], fields["whole"] = tuple(fields["parts"]), tuple(fields["whole"])
        if fields["format"] != FORMAT:
            raise BackendUnavailable(f"The saved sandbox in {directory} was written by another version of the platform.")
        return State(**fields)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BackendUnavailable(f"There is no saved sandbox in {directory}.") from error
