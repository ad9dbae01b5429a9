"""The platform as the synchronous client sees it: `platform.Platform` without waiting for a loop."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ppio_sandbox.agent_runtime.client import faults, rules, settings
from ppio_sandbox.agent_runtime.client.exceptions import AgentClientError, SandboxCreationError
from sandkit.http import sandboxes
from sandkit.http.messages import read_reply
from sandkit.http.sync_sender import SyncSender

if TYPE_CHECKING:
    from collections.abc import Generator

    from ppio_sandbox.agent_runtime.client.auth import AuthManager
    from ppio_sandbox.agent_runtime.client.models import ClientConfig
    from ppio_sandbox.agent_runtime.client.settings import Addresses
    from sandkit.http.messages import Call, Reply, Request
    from sandkit.http.sync_sender import SyncStreamedReply
    from sandkit.wire.sandboxes import CreateSandbox
    from sandkit.wire.sandboxes import Sandbox as CreatedSandbox

T = TypeVar("T")


class SyncPlatform:
    """One pool of connections to both planes, and the credentials for the first."""

    def __init__(self, auth: AuthManager, addresses: Addresses, config: ClientConfig) -> None:
        self.addresses = addresses
        self.config = config
        self.is_closed = False
        self._auth = auth
        self._sender = SyncSender(settings.limits_of(config))

    def perform(
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
            request = self._auth.authorized(call.request.to(self.addresses.api, {}))
            try:
                with self._told(otherwise, sandbox_id, request):
                    return read_reply(call, self._sender.send(request, timeout=tries.seconds_left()))
            except AgentClientError as error:
                delay = tries.delay_after(error)
                if delay is None:
                    raise
            time.sleep(delay)

    def create(self, wanted: CreateSandbox) -> CreatedSandbox:
        """Start a sandbox.

        Raises:
            AgentClientError: as `SandboxCreationError`, or the subclass that says more.
        """
        return self.perform(sandboxes.create_sandbox(wanted), otherwise=SandboxCreationError, seconds=self.config.create_timeout)

    def ask(self, request: Request, *, sandbox_id: str, otherwise: type[AgentClientError], seconds: float) -> Reply:
        """Return the whole answer of a sandbox's port, whatever it says; `request` is addressed already."""
        with self._told(otherwise, sandbox_id, request):
            return self._sender.send(request, timeout=seconds)

    @contextmanager
    def stream(
        self, request: Request, *, otherwise: type[AgentClientError], sandbox_id: str, seconds: float
    ) -> Generator[SyncStreamedReply]:
        """Give an answer whose body is still coming; leaving the block closes it. Failures in the block are translated too."""
        with self._told(otherwise, sandbox_id, request), self._sender.open(request, timeout=seconds) as reply:
            yield reply

    def close(self) -> None:
        self.is_closed = True
        self._sender.close()

    @contextmanager
    def _told(self, otherwise: type[AgentClientError], sandbox_id: str | None, request: Request) -> Generator[None]:
        if self.is_closed:
            raise faults.closed_client()
        with faults.told(otherwise, sandbox_id, request):
            yield
