"""The platform as the client sees it: calls are performed, failures become this face's exceptions."""

from __future__ import annotations

import asyncio
import random
import uuid
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from ppio_sandbox.agent_runtime.client import faults
from ppio_sandbox.agent_runtime.client.exceptions import AgentClientError, RateLimitError, SandboxCreationError
from sandkit.http import sandboxes
from sandkit.http.errors import TransportError
from sandkit.http.messages import UnreadableReplyError, read_reply
from sandkit.http.sender import AsyncSender, Limits
from sandkit.wire.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from ppio_sandbox.agent_runtime.client.auth import AuthManager
    from ppio_sandbox.agent_runtime.client.models import ClientConfig
    from ppio_sandbox.agent_runtime.client.settings import Addresses
    from sandkit.http.messages import Call, Reply, Request
    from sandkit.http.sender import StreamedReply
    from sandkit.wire.sandboxes import CreateSandbox
    from sandkit.wire.sandboxes import Sandbox as CreatedSandbox

T = TypeVar("T")


class Platform:
    """One pool of connections to both planes, and the credentials for the first."""

    def __init__(self, auth: AuthManager, addresses: Addresses, config: ClientConfig) -> None:
        self.addresses = addresses
        self.config = config
        self._auth = auth
        self._sender = AsyncSender(Limits(config.max_connections, config.keepalive_expiry, config.connect_timeout))

    async def perform(
        self,
        call: Call[T],
        *,
        otherwise: type[AgentClientError] = AgentClientError,
        sandbox_id: str | None = None,
        seconds: float | None = None,
    ) -> T:
        """Return what the platform answers.

        Raises:
            AgentClientError: or the subclass that says more; `otherwise` where only the verb is known.
        """
        with self._told(otherwise, sandbox_id):
            request = self.addressed(call.request)
            return read_reply(call, await self._sender.send(request, timeout=seconds or self.config.control_timeout))

    async def create(self, wanted: CreateSandbox) -> CreatedSandbox:
        """Start a sandbox; refusals (429, and 503 with `Retry-After`) are tried again, since nothing has happened then.

        Raises:
            AgentClientError: as `SandboxCreationError`, or the subclass that says more.
        """
        call = sandboxes.create_sandbox(wanted, str(uuid.uuid4()))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.config.create_timeout
        for attempt in range(self.config.max_retries + 1):
            try:
                return await self.perform(call, otherwise=SandboxCreationError, seconds=max(deadline - loop.time(), 0.001))
            except AgentClientError as error:
                delay = self._delay(error, attempt)
                if delay is None or loop.time() + delay > deadline:
                    raise
            await asyncio.sleep(delay)
        raise AssertionError  # the last attempt returned or raised

    async def ask(self, request: Request, *, sandbox_id: str, otherwise: type[AgentClientError], seconds: float) -> Reply:
        """Return the whole answer of a sandbox's port, whatever it says; `request` is addressed already."""
        with self._told(otherwise, sandbox_id):
            return await self._sender.send(request, timeout=seconds)

    @asynccontextmanager
    async def stream(
        self,
        request: Request,
        *,
        otherwise: type[AgentClientError],
        sandbox_id: str | None = None,
        seconds: float,
    ) -> AsyncGenerator[StreamedReply]:
        """Give an answer whose body is still coming; leaving the block closes it. Failures in the block are translated too."""
        with self._told(otherwise, sandbox_id):
            async with self._sender.open(request, timeout=seconds) as reply:
                yield reply

    def addressed(self, request: Request) -> Request:
        """Return a control-plane request with its address and the caller's credentials."""
        return request.to(self.addresses.api, self._auth.credentials())

    async def aclose(self) -> None:
        await self._sender.aclose()

    def _delay(self, error: AgentClientError, attempt: int) -> float | None:
        """Return the seconds to wait before a refused creation is tried again, or None where that is no refusal or the last one."""
        if attempt >= self.config.max_retries:
            return None
        told = error.details.get("retry_after")
        if not isinstance(told, (int, float)):
            told = self.config.retry_delay * 2**attempt if isinstance(error, RateLimitError) else None
        return None if told is None else told * random.uniform(1.0, 1.25)  # noqa: S311 (spreads a herd, hides nothing)

    @contextmanager
    def _told(self, otherwise: type[AgentClientError], sandbox_id: str | None) -> Generator[None]:
        try:
            yield
        except ApiError as error:
            raise faults.from_platform(error, otherwise, sandbox_id) from error
        except TransportError as error:
            raise faults.from_transport(error, otherwise, sandbox_id) from error
        except UnreadableReplyError as error:
            raise faults.from_nonsense(error, sandbox_id) from error
