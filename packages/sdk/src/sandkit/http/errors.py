"""Failures of the way, not of the one who answers.

TransportError
├── ConnectFailedError      nothing was sent
├── TimedOutError           nothing came in the time given
└── CutShortError           the connection ended before the reply did
"""

from __future__ import annotations


class TransportError(Exception):
    """No whole reply arrived."""


class ConnectFailedError(TransportError):
    """No connection could be made; nothing was sent, so nothing can have happened."""


class TimedOutError(TransportError):
    """Nothing came in the time given; the other side may be at work still, until it notices the closed connection."""


class CutShortError(TransportError):
    """The connection ended before the reply did."""
