"""How builds fail."""

from __future__ import annotations


class BuildFailed(Exception):  # noqa: N818 (the state's word)
    """The build's fault, or its agent's: the message is the reason that its caller reads. `step` names the step that failed."""

    def __init__(self, message: str, *, step: str = "") -> None:
        super().__init__(message)
        self.step = step
