"""What a client does, step by step and without doing it: credentials, renewal, refusals, when to try again.

A flow is a generator of steps; the synchronous and the asynchronous client carry them out and give back what came of them, so both
decide alike. It ends with the result, or raises one of this package's exceptions.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from gateway_sdk import faults, requests
from gateway_sdk.exceptions import GatewayError, RateLimitError, ServiceUnavailableError
from gateway_sdk.places import find_base_url
from sandkit.http.errors import TransportError
from sandkit.http.messages import Reply, Request
from sandkit.wire.gateway import IDEMPOTENCY_IN_PROGRESS

if TYPE_CHECKING:
    from gateway_sdk.credentials import Credentials, Exchanged
    from gateway_sdk.requests import Wanted
    from gateway_sdk.transfers import Upload

T = TypeVar("T")
TRIES = 4
"""How often a request is sent in all, where it may be sent again."""
LINK_SECONDS = 3600
"""How long a signed address lives, if nothing else is said."""
_PASSING = (502, 503, 504)
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 60.0


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request. `seconds` bound the whole exchange, or each wait of it where it is `lasting`; give back the `Reply`.

    Of a `streamed` one that succeeds give back the head; its body is what the flow was for.
    """

    request: Request
    seconds: float
    upload: Upload | None = None
    lasting: bool = False
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for some seconds; nothing is given back."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Renew:
    """Have another token, one for all who wait for it: unless `old` has been replaced meanwhile, go through `Core.exchange`."""

    old: Exchanged | None


Step: TypeAlias = Send | Pause | Renew
Flow: TypeAlias = Generator[Step, Reply | None, T]


class Core:
    """One client's knowledge: where the gateway is, who calls, how long things may take (seconds)."""

    def __init__(self, credentials: Credentials, base_url: str | None, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.credentials = credentials
        self.timeout = timeout
        self.clock = clock
        self._told_url = base_url
        self._base_url: str | None = None

    @property
    def base_url(self) -> str:
        """The gateway's address, found when it is first needed.

        Raises:
            GatewayError: nobody says where it is.
        """
        if self._base_url is None:
            self._base_url = find_base_url(self._told_url)
        return self._base_url

    def ask(self, wanted: Wanted[T]) -> Flow[T]:
        """Send what is wanted, as often as it may be sent, and return what the answer says."""
        deadline = self.clock() + self.timeout
        tries = 0
        while True:
            try:
                reply = yield from self._admitted(wanted, deadline)
            except TransportError as error:
                failure = faults.from_transport(error, self.credentials.hidden())
                failure.__cause__ = None if wanted.signed else error
            else:
                if reply.status < 300:
                    return _read(wanted, reply)
                failure = faults.from_reply(reply, wanted.about, self.credentials.hidden())
            tries += failure.error_code != IDEMPOTENCY_IN_PROGRESS
            delay = retry_delay(failure, tries) if wanted.repeatable and wanted.upload is None else None
            if delay is None or self.clock() + delay >= deadline:
                raise failure
            yield Pause(delay)

    def exchange(self) -> Flow[None]:
        """Exchange the API key for a token."""
        wanted = requests.convert(self.credentials.key_header())
        token, life = yield from self.ask(replace(wanted, signed=True, request=self._to_gateway(wanted.request)))
        self.credentials.keep(token, life, self.clock())

    def store_input(self, upload: Upload) -> Flow[str]:
        """Store a file behind a signed address and return its s3:// URL."""
        offer = yield from self.ask(requests.upload_url(upload))
        yield from self.ask(requests.put(offer, upload))
        return offer.s3_url

    def fetch(self, s3_url: str) -> Flow[Reply]:
        """Get a file from a signed address: a streamed answer."""
        address = yield from self.ask(requests.presigned(s3_url, LINK_SECONDS))
        return (yield from self.ask(requests.fetch(address, s3_url)))

    def _admitted(self, wanted: Wanted[T], deadline: float) -> Flow[Reply]:
        """Send once with a credential; a second time with another one where the first was refused and can be renewed."""
        if wanted.signed:
            return (yield from self._sent(wanted, wanted.request, deadline))
        if self.credentials.wants_exchange(self.clock()):
            yield Renew(self.credentials.exchanged)
        used = self.credentials.exchanged
        reply = yield from self._sent(wanted, self._to_gateway(wanted.request, self.credentials.headers()), deadline)
        if reply.status != 401 or not self.credentials.can_exchange or wanted.upload is not None:
            return reply
        yield Renew(used)
        return (yield from self._sent(wanted, self._to_gateway(wanted.request, self.credentials.headers()), deadline))

    def _sent(self, wanted: Wanted[T], request: Request, deadline: float) -> Flow[Reply]:
        seconds = self.timeout if wanted.lasting else max(0.001, deadline - self.clock())
        reply = yield Send(request, seconds, wanted.upload, wanted.lasting, wanted.streamed)
        assert reply is not None
        return reply

    def _to_gateway(self, request: Request, headers: dict[str, str] | None = None) -> Request:
        return request.to(self.base_url, {"user-agent": requests.USER_AGENT, **(headers or {})})


def retry_delay(failure: GatewayError, tries: int) -> float | None:
    """Return the seconds until a repeatable request is sent again, or None where that would not help."""
    running = failure.error_code == IDEMPOTENCY_IN_PROGRESS
    passing = isinstance(failure, RateLimitError) or (
        isinstance(failure, ServiceUnavailableError) and (failure.status_code is None or failure.status_code in _PASSING)
    )
    if tries >= TRIES or not (running or passing):
        return None
    told = failure.retry_after
    if told is not None:
        return told if told <= _LONGEST_DELAY else None
    return _FIRST_DELAY * 2 ** max(0, tries - 1) * random.uniform(1.0, 1.25)  # noqa: S311 (spreads a herd, hides nothing)


def _read(wanted: Wanted[T], reply: Reply) -> T:
    try:
        return wanted.read(reply)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, GatewayError):
            raise
        raise faults.unreadable(f"{type(error).__name__}: {error}", reply.status) from None
