"""The sandbox of a synchronous session: `control` by plain calls."""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ppio_sandbox.agent_runtime.client import rules
from ppio_sandbox.agent_runtime.client.control import ForeignSandbox, OwnSandbox
from ppio_sandbox.agent_runtime.client.exceptions import SandboxOperationError, SessionNotFoundError
from ppio_sandbox.agent_runtime.client.models import SessionStatus
from sandkit.http import sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppio_sandbox.agent_runtime.client.sandbox import Sandbox
    from ppio_sandbox.agent_runtime.client.sync_platform import SyncPlatform
    from sandkit.http.messages import Call, Request

T = TypeVar("T")


class SyncPlatformControl(OwnSandbox):
    """A sandbox of this platform, by the control plane's calls."""

    def __init__(self, sandbox: Sandbox, platform: SyncPlatform) -> None:
        super().__init__(sandbox)
        self._platform = platform

    def pause(self) -> None:
        """Pausing twice is once."""
        try:
            self._perform(sandboxes.pause_sandbox(self.sandbox_id))
        except SandboxOperationError as error:
            if error.error_code != "conflict" or self.status(SessionStatus.ACTIVE) is not SessionStatus.PAUSED:
                raise

    def resume(self, seconds: int) -> None:
        resumed = self._perform(sandboxes.connect_sandbox(self.sandbox_id, seconds))
        self.sandbox = replace(self.sandbox, access_token=resumed.envd_access_token, domain=resumed.domain)

    def renew(self, seconds: int) -> None:
        self._perform(sandboxes.set_timeout(self.sandbox_id, seconds))

    def end(self) -> None:
        """Ending what has ended is no error."""
        with suppress(SessionNotFoundError):
            self._perform(sandboxes.delete_sandbox(self.sandbox_id))

    def status(self, before: SessionStatus) -> SessionStatus:
        try:
            return rules.status_of(self._perform(sandboxes.get_sandbox(self.sandbox_id)))
        except SessionNotFoundError as error:
            return rules.status_told_by(error, before)

    def addressed(self, request: Request) -> Request:
        """Return the request on its way to the agent's port; a sandbox found in a list learns here what admits to it."""
        if self.sandbox.access_token is None:
            detail = self._perform(sandboxes.get_sandbox(self.sandbox_id))
            self.sandbox = replace(self.sandbox, access_token=detail.envd_access_token)
        return self.on_its_way(request)

    def _perform(self, call: Call[T]) -> T:
        return self._platform.perform(call, otherwise=SandboxOperationError, sandbox_id=self.sandbox_id)


class SyncObjectControl(ForeignSandbox):
    """A foreign sandbox, whose verbs are plain: an asynchronous one belongs to a loop, and so to `SandboxSession`."""

    def pause(self) -> None:
        self._called(self.verb("pause"))

    def resume(self, seconds: int) -> None:
        del seconds  # the object knows its own time
        self._called(self.verb("resume", "connect"))

    def renew(self, seconds: int) -> None:
        set_timeout = self.found("set_timeout")
        if set_timeout is not None:
            self._called(set_timeout, seconds)

    def end(self) -> None:
        self._called(self.verb("close", "kill"))

    def status(self, before: SessionStatus) -> SessionStatus:
        """Ask the object whether it runs, as `control.ObjectControl`."""
        is_running = self.found("is_running")
        if before is SessionStatus.ACTIVE and is_running is not None and self._called(is_running) is False:
            return SessionStatus.CLOSED
        return before

    def addressed(self, request: Request) -> Request:
        return self.on_its_way(request)

    def _called(self, verb: Callable[..., Any], *arguments: object) -> Any:
        if inspect.iscoroutinefunction(verb):
            kind = type(self.sandbox).__name__
            raise SandboxOperationError(f"{kind}.{verb.__name__} is asynchronous: use SandboxSession", sandbox_id=self.sandbox_id)
        return verb(*arguments)
