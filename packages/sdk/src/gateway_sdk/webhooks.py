"""For receivers of webhooks: is it the platform's, is it fresh, was it handled already (Standard Webhooks, standardwebhooks.com).

verifier = WebhookVerifier(client.webhook_secret())

def receive(headers, body):                     # of your HTTP server; the body as it came, in bytes
try:
with verifier.receive(headers, body) as event:
if event is not None:               # None: it was handled already
handle(event.data["job_id"])
except AuthenticationError:
return 401
return 200
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from gateway_sdk.exceptions import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

__all__ = ["WebhookEvent", "WebhookVerifier"]

TOLERANCE = 300.0
_REMEMBERED = 24 * 3600.0
_MOST = 100_000
_DIGITS = 15
_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What happened: `id` is the same however often it is told, `type` is `job.ended`, `data` names the job and its status."""

    id: str
    type: str
    timestamp: str
    data: Mapping[str, Any]


class WebhookVerifier:
    """Knows one user's secret, or several while they change; it may be shared among threads.

    What was handled is remembered in this object, for a day. Where several processes receive, keep `event.id` where all of them look.
    """

    def __init__(self, *secrets: str, tolerance: float = TOLERANCE, clock: Callable[[], float] = time.time) -> None:
        """Take the secrets (`whsec_…`) and the seconds that a message may be old.

        Raises:
            ValueError: a text is no secret.
        """
        if not secrets:
            raise ValueError("a secret is needed: client.webhook_secret() returns it")
        self._keys = [_key(secret) for secret in secrets]
        self._tolerance = tolerance
        self._clock = clock
        self._lock = threading.Lock()
        self._shown: OrderedDict[str, float] = OrderedDict()
        self._handled: OrderedDict[str, float] = OrderedDict()

    @contextmanager
    def receive(self, headers: Mapping[str, str], body: bytes) -> Generator[WebhookEvent | None]:
        """Give the event, or None where it was handled already. It counts as handled when the block ends; if that raises, it does not.

        Raises:
            AuthenticationError: answer 401: it is unsigned, signed by somebody else, too old, or this very message came before.
        """
        event = self._verified({name.lower(): value for name, value in headers.items()}, body)
        with self._lock:
            handled = event.id in self._handled
        yield None if handled else event
        with self._lock:
            _remember(self._handled, event.id, self._clock() + _REMEMBERED, self._clock())

    def _verified(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        message, moment, signatures = (headers.get(name, "") for name in names)
        if not (message and signatures and moment.isascii() and moment.isdecimal() and len(moment) <= _DIGITS):
            raise _refused("it is not signed")
        now = self._clock()
        if abs(now - int(moment)) > self._tolerance:
            raise _refused("it is too old, or of the future")
        if not self._fits(f"{message}.{moment}.".encode() + body, signatures.split()):
            raise _refused("the signature does not fit")
        with self._lock:
            if f"{message}.{moment}" in self._shown:
                raise _refused("this very message came before")
            _remember(self._shown, f"{message}.{moment}", now + 2 * self._tolerance, now)
        return _event(message, body)

    def _fits(self, signed: bytes, signatures: Sequence[str]) -> bool:
        for key in self._keys:
            right = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
            if any(hmac.compare_digest(right, given.encode("utf-8", "replace")) for given in signatures):
                return True
        return False


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else _key_missing()
    except binascii.Error:
        return _key_missing()


def _key_missing() -> bytes:
    raise ValueError("a webhook's secret begins with whsec_, and base64 follows")


def _event(message: str, body: bytes) -> WebhookEvent:
    try:
        said = cast("dict[str, Any]", json.loads(body))
        return WebhookEvent(message, str(said["type"]), str(said["timestamp"]), dict(said["data"]))
    except (ValueError, KeyError, TypeError):
        raise _refused("it is no event") from None


def _remember(known: OrderedDict[str, float], what: str, until: float, now: float) -> None:
    known[what] = until
    while len(known) > _MOST or next(iter(known.values())) < now:
        known.popitem(last=False)


def _refused(why: str) -> AuthenticationError:
    return AuthenticationError(f"the webhook is refused: {why}", "UNAUTHENTICATED")
