"""What the ports raise.

BackendError
 +-- StartFailed          the agent's fault: it ended, or never listened
 +-- SandboxGone          no such living sandbox
 +-- PortClosed           it lives, nothing listens on that port
 +-- BackendUnavailable   the platform's fault: nothing can be started now
 +-- NotSupported         this back end cannot do that on this machine, now or later
 +-- MountRefused         nothing can be mounted there, or taken from there, as the sandbox is now

StoreError
 +-- StoreUnavailable     the platform's fault: full disk, no right to write, damage; the message says which and what to do
 +-- RowConflict          a row of that name is there already, or what it belongs to is not
 +-- BlobMissing          no bytes under that key

TokenRefused              a token that is not ours, or of nobody we know
 +-- TokenExpired         it was, until its time was over
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandyard.domain.specs import Exited


class BackendError(Exception):
    """A back end could not do what it was asked."""


class StartFailed(BackendError):  # noqa: N818 (the word of the state table)
    """The command ended or did not listen in time; `exited` says how and holds its last lines."""

    def __init__(self, exited: Exited) -> None:
        super().__init__(exited.reason)
        self.exited = exited


class SandboxGone(BackendError):  # noqa: N818
    """The sandbox does not live."""


class PortClosed(BackendError):  # noqa: N818
    """Nothing listens on that port of the sandbox."""


class BackendUnavailable(BackendError):  # noqa: N818
    """The platform cannot start sandboxes now; the message says which knob or resource is missing."""


class NotSupported(BackendError):  # noqa: N818
    """This back end, or the machine under it, cannot do that; the message says what is missing."""


class MountRefused(BackendError):  # noqa: N818
    """Something inside the sandbox is in the way; the message says what."""


class StoreError(Exception):
    """Rows or blobs could not do what they were asked."""


class StoreUnavailable(StoreError):  # noqa: N818 (named like BackendUnavailable)
    """Nothing can be read or written now; the message says what happened and what to do."""


class RowConflict(StoreError):  # noqa: N818
    """A row with that id (name, idempotency key) exists, or the row that it belongs to does not."""


class BlobMissing(StoreError):  # noqa: N818
    """There are no bytes under that key."""


class TokenRefused(Exception):  # noqa: N818
    """The token was not signed by whom we know, is for somebody else, or has expired."""


class TokenExpired(TokenRefused):
    """Nothing else is wrong with it."""
