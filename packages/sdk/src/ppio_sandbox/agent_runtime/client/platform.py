"""The platform as the client sees it: calls are performed, failures become this face's exceptions."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from ppio_sandbox.agent_runtime.client import faults, rules, settings
from ppio_sandbox.agent_runtime.client.exceptions import AgentClientError, SandboxCreationError
from sandkit.http import sandboxes
from sandkit.http.messages import read_reply

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
        from sandkit.http.sender import AsyncSender  # noqa: PLC0415 (the library is half of what importing the client would cost)

        self.is_closed = False
        self._sender = AsyncSender(settings.limits_of(config))

    async def perform(
        self,
        call: Call[T],
        *,
        otherwise: type[AgentClientError] = AgentClientError,
        sandbox_id: str | None = None,
        seconds: float | None = None,
    ) -> T:
        """Return what the platform answers, within `seconds` in all, tries included (`rules.Tries`).

        Raises:
            AgentClientError: or the subclass that says more; `otherwise` where only the verb is known.
        """
        tries = rules.Tries(call.request, self.config, seconds or self.config.control_timeout)
        while True:
            request = self.addressed(call.request)
            try:
                with self._told(otherwise, sandbox_id, request):
                    return read_reply(call, await self._sender.send(request, timeout=tries.seconds_left()))
            except AgentClientError as error:
                delay = tries.delay_after(error)
                if delay is None:
                    raise
            await asyncio.sleep(delay)

    async def create(self, wanted: CreateSandbox) -> CreatedSandbox:
        """Start a sandbox. It needs no idempotency key: without one the platform ends what it was starting when the caller leaves.

        Raises:
            AgentClientError: as `SandboxCreationError`, or the subclass that says more.
        """
        return await self.perform(sandboxes.create_sandbox(wanted), otherwise=SandboxCreationError, seconds=self.config.create_timeout)

    async def ask(self, request: Request, *, sandbox_id: str, otherwise: type[AgentClientError], seconds: float) -> Reply:
        """Return the whole answer of a sandbox's port, whatever it says; `request` is addressed already."""
        with self._told(otherwise, sandbox_id, request):
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
        with self._told(otherwise, sandbox_id, request):
            async with self._sender.open(request, timeout=seconds) as reply:
                yield reply

    def addressed(self, request: Request) -> Request:
        """Return a control-plane request with its address and the caller's credentials."""
        return self._auth.authorized(request.to(self.addresses.api, {}))

    async def aclose(self) -> None:
        self.is_closed = True
        await self._sender.aclose()

    @contextmanager
    def _told(self, otherwise: type[AgentClientError], sandbox_id: str | None, request: Request) -> Generator[None]:
        if self.is_closed:
            raise faults.closed_client()
        with faults.told(otherwise, sandbox_id, request):
            yield
