"""The sandbox of a session: this platform's own, or any object that has the verbs (another SDK's sandbox, a test's double)."""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

import anyio

from ppio_sandbox.agent_runtime.client import rules
from ppio_sandbox.agent_runtime.client.exceptions import SandboxOperationError, SessionNotFoundError
from ppio_sandbox.agent_runtime.client.models import SessionStatus
from sandkit.http import agents, sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppio_sandbox.agent_runtime.client.platform import Platform
    from ppio_sandbox.agent_runtime.client.sandbox import Sandbox
    from sandkit.http.messages import Call, Request

T = TypeVar("T")

TOKEN_HEADER = "x-access-token"  # noqa: S105 (a header's name)


class Control(Protocol):
    """What a session does with its sandbox. Each verb may raise `AgentClientError`, a caller's own object whatever it likes."""

    @property
    def sandbox(self) -> Any: ...
    @property
    def sandbox_id(self) -> str: ...
    @property
    def host_url(self) -> str: ...
    async def pause(self) -> None: ...
    async def resume(self, seconds: int) -> None: ...
    async def renew(self, seconds: int) -> None: ...
    async def end(self) -> None: ...
    async def status(self, before: SessionStatus) -> SessionStatus: ...
    async def addressed(self, request: Request) -> Request: ...


class OwnSandbox:
    """A sandbox of this platform: its addresses, and what admits to it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    @property
    def sandbox_id(self) -> str:
        return self.sandbox.id

    @property
    def host_url(self) -> str:
        return f"{self.sandbox.scheme}://{self.sandbox.get_host(agents.AGENT_PORT)}"

    def on_its_way(self, request: Request) -> Request:
        """Return the request, addressed to the agent's port."""
        return request.to(self.sandbox.url(agents.AGENT_PORT), self.sandbox.headers(agents.AGENT_PORT)).identified()


class PlatformControl(OwnSandbox):
    """A sandbox of this platform, by the control plane's calls."""

    def __init__(self, sandbox: Sandbox, platform: Platform) -> None:
        super().__init__(sandbox)
        self._platform = platform

    async def pause(self) -> None:
        """Pausing twice is once."""
        try:
            await self._perform(sandboxes.pause_sandbox(self.sandbox_id))
        except SandboxOperationError as error:
            if error.error_code != "conflict" or await self.status(SessionStatus.ACTIVE) is not SessionStatus.PAUSED:
                raise

    async def resume(self, seconds: int) -> None:
        resumed = await self._perform(sandboxes.connect_sandbox(self.sandbox_id, seconds))
        self.sandbox = replace(self.sandbox, access_token=resumed.envd_access_token, domain=resumed.domain)

    async def renew(self, seconds: int) -> None:
        await self._perform(sandboxes.set_timeout(self.sandbox_id, seconds))

    async def end(self) -> None:
        """Ending what has ended is no error."""
        with suppress(SessionNotFoundError):
            await self._perform(sandboxes.delete_sandbox(self.sandbox_id))

    async def status(self, before: SessionStatus) -> SessionStatus:
        try:
            return rules.status_of(await self._perform(sandboxes.get_sandbox(self.sandbox_id)))
        except SessionNotFoundError as error:
            return rules.status_told_by(error, before)

    async def addressed(self, request: Request) -> Request:
        """Return the request on its way to the agent's port; a sandbox found in a list learns here what admits to it."""
        if self.sandbox.access_token is None:
            detail = await self._perform(sandboxes.get_sandbox(self.sandbox_id))
            self.sandbox = replace(self.sandbox, access_token=detail.envd_access_token)
        return self.on_its_way(request)

    async def _perform(self, call: Call[T]) -> T:
        return await self._platform.perform(call, otherwise=SandboxOperationError, sandbox_id=self.sandbox_id)


class ForeignSandbox:
    """Any object that has `id` or `sandbox_id`, `get_host`, `pause`, `resume` or `connect`, `close` or `kill`.

    Of what another SDK's sandbox may have besides, `is_running`, `set_timeout` and `traffic_access_token` are used; of `e2b`'s, and so
    of `ppio_sandbox.Sandbox`, also where its configuration says that ports are reached.
    """

    def __init__(self, sandbox: Any, sandbox_id: str | None = None) -> None:
        self.sandbox = sandbox
        self.sandbox_id = sandbox_id or self._text("id") or self._text("sandbox_id") or f"sandbox-{id(sandbox)}"

    @property
    def host_url(self) -> str:
        """`https://` and the object's own host of the agent's port; a name that leads nowhere where it has none (seed 001 §4.2)."""
        get_host = self.found("get_host")
        host = str(get_host(agents.AGENT_PORT)) if get_host is not None else f"session-{self.sandbox_id}.ppio.sandbox"
        return host if "://" in host else f"{urlsplit(self._told_address() or 'https:').scheme}://{host}"

    def found(self, *names: str) -> Callable[..., Any] | None:
        """Return the first of these verbs that the object has."""
        return next((verb for name in names if callable(verb := getattr(self.sandbox, name, None))), None)

    def verb(self, *names: str) -> Callable[..., Any]:
        """Return the first of these verbs that the object has.

        Raises:
            SandboxOperationError: it has none of them.
        """
        found = self.found(*names)
        if found is None:
            raise SandboxOperationError(f"{type(self.sandbox).__name__} has no {' and no '.join(names)}", sandbox_id=self.sandbox_id)
        return found

    def on_its_way(self, request: Request) -> Request:
        """Return the request, addressed to the agent's port."""
        token = self._text("traffic_access_token")
        address = self._told_address()
        if address is None:
            return request.to(self.host_url, {TOKEN_HEADER: token} if token else {}).identified()
        return request.to(address.rstrip("/"), agents.route_headers(self.sandbox_id, token)).identified()

    def _told_address(self) -> str | None:
        """Return where all ports are reached, by headers that route, where `e2b` was told: a platform without a domain of its own."""
        find = getattr(getattr(self.sandbox, "connection_config", None), "get_sandbox_direct_url", None)
        found: object = find(self.sandbox_id, "", agents.AGENT_PORT) if callable(find) else None
        return found if isinstance(found, str) and self.sandbox_id not in found else None

    def _text(self, name: str) -> str | None:
        found = getattr(self.sandbox, name, None)
        return found if isinstance(found, str) and found else None


class ObjectControl(ForeignSandbox):
    """A foreign sandbox, whose verbs may be plain or asynchronous."""

    async def pause(self) -> None:
        await _called(self.verb("pause"))

    async def resume(self, seconds: int) -> None:
        del seconds  # the object knows its own time
        await _called(self.verb("resume", "connect"))

    async def renew(self, seconds: int) -> None:
        set_timeout = self.found("set_timeout")
        if set_timeout is not None:
            await _called(set_timeout, seconds)

    async def end(self) -> None:
        await _called(self.verb("close", "kill"))

    async def status(self, before: SessionStatus) -> SessionStatus:
        """Ask the object whether it runs, where it can tell; what is paused does not, and is no less there."""
        is_running = self.found("is_running")
        if before is SessionStatus.ACTIVE and is_running is not None and await _called(is_running) is False:
            return SessionStatus.CLOSED
        return before

    async def addressed(self, request: Request) -> Request:
        return self.on_its_way(request)


async def _called(verb: Callable[..., Any], *arguments: object) -> Any:
    """Call a function that may be asynchronous, or may take its time: then the event loop does not wait for it."""
    if inspect.iscoroutinefunction(verb):
        return await verb(*arguments)
    result = await anyio.to_thread.run_sync(verb, *arguments)
    return await result if inspect.isawaitable(result) else result
