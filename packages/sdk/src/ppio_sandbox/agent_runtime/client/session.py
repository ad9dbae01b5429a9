"""One session: a sandbox with an agent in it, from its start to its end."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from ppio_sandbox.agent_runtime.client import faults, invocation
from ppio_sandbox.agent_runtime.client.exceptions import (
    AgentClientError,
    InvocationError,
    NetworkError,
    SandboxOperationError,
    SessionNotFoundError,
)
from ppio_sandbox.agent_runtime.client.models import SessionStatus
from ppio_sandbox.agent_runtime.client.sandbox import Sandbox
from ppio_sandbox.agent_runtime.client.stream import ChunkStream
from sandkit.http import agents, sandboxes
from sandkit.wire import errors as wire
from sandkit.wire.invocations import InvocationRequest, InvocationResponse, PingResponse

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from ppio_sandbox.agent_runtime.client.client import AgentRuntimeClient
    from ppio_sandbox.agent_runtime.client.platform import Platform
    from ppio_sandbox.agent_runtime.client.stream import Opening
    from sandkit.http.messages import Call, Request
    from sandkit.wire.sandboxes import SandboxDetail

T = TypeVar("T")

EXPLAINING_SECONDS = 5.0

AnyRequest = InvocationRequest | dict[str, Any] | str


class SandboxSession:
    """One sandbox and the calls to its agent; the session's id is the sandbox's (seed 001 §4.2).

    To start afresh, close it and create another: there is no restart.
    """

    def __init__(
        self,
        template_id: str,
        sandbox: Sandbox,
        client: AgentRuntimeClient,
        *,
        timeout_seconds: int = 300,
        created_at: datetime | None = None,
    ) -> None:
        """Attach to a running sandbox. Use `AgentRuntimeClient.create_session` or `get_session`.

        `timeout_seconds` is the life that `refresh` and `resume` give it, from then on.
        """
        self.template_id = template_id
        self.sandbox = sandbox
        self.client = client
        self.timeout_seconds = timeout_seconds
        self.status = SessionStatus.ACTIVE
        """As last seen from here; `get_status` asks the platform."""
        self.last_activity = datetime.now(UTC)
        self.created_at = created_at or self.last_activity

    @overload
    def invoke(self, request: AnyRequest, stream: Literal[True]) -> ChunkStream: ...
    @overload
    def invoke(self, request: AnyRequest, stream: Literal[False] = False) -> Coroutine[Any, Any, InvocationResponse]: ...
    @overload
    def invoke(self, request: AnyRequest, stream: bool) -> ChunkStream | Coroutine[Any, Any, InvocationResponse]: ...
    def invoke(self, request: AnyRequest, stream: bool = False) -> ChunkStream | Coroutine[Any, Any, InvocationResponse]:
        """Call the agent: `await` the answer, or with `stream` iterate over its chunks.

        Raises:
            InvocationError: the agent failed, died (`exit_code`, `output`) or did not answer in time.
            SessionNotFoundError: the session has ended.
            NetworkError: no whole answer arrived.
            ValidationError: the request has no form in JSON.
        """
        return self.stream(request) if stream else self.call(request)

    async def call(self, request: AnyRequest, timeout: float | None = None) -> InvocationResponse:  # noqa: ASYNC109 (of the call)
        """Call the agent and return its whole answer. `timeout` is in seconds; else the request's own, else the client's."""
        body = invocation.encodable(invocation.body_of(request))
        started = time.perf_counter()
        request_to_agent = await self._addressed(agents.invoke(body, stream=False))
        try:
            seconds = self._seconds(body, timeout)
            reply = await self._platform.ask(request_to_agent, sandbox_id=self.sandbox_id, otherwise=InvocationError, seconds=seconds)
            return invocation.response_of(reply, self.sandbox_id, time.perf_counter() - started)
        except AgentClientError as error:
            await self._explain(error)
            raise

    def stream(self, request: AnyRequest, timeout: float | None = None) -> ChunkStream:
        """Call the agent and return its chunks as they come. `timeout` bounds each silence, in seconds."""
        return ChunkStream(self._chunks(request, timeout))

    async def pause(self) -> None:
        """Freeze the sandbox: its memory is kept, it uses no CPU, and takes no calls until `resume`. Pausing twice is once.

        Raises:
            SandboxOperationError: it cannot be paused.
            SessionNotFoundError: the session has ended.
        """
        try:
            await self._perform(sandboxes.pause_sandbox(self.sandbox_id))
        except SandboxOperationError as error:
            if error.error_code != "conflict" or await self.get_status() is not SessionStatus.PAUSED:
                raise
        self.status = SessionStatus.PAUSED

    async def resume(self) -> None:
        """Let a paused sandbox go on where it was; it then lives at least `timeout_seconds`.

        Raises:
            SandboxOperationError: it cannot be resumed.
            SessionNotFoundError: the session has ended.
        """
        resumed = await self._perform(sandboxes.connect_sandbox(self.sandbox_id, self.timeout_seconds))
        self.sandbox = Sandbox(self.sandbox_id, self.sandbox.addresses, resumed.envd_access_token, resumed.domain)
        self.status = SessionStatus.ACTIVE

    async def refresh(self) -> None:
        """Renew the session: it lives `timeout_seconds` from now on.

        Raises:
            SandboxOperationError: it cannot be renewed.
            SessionNotFoundError: the session has ended.
        """
        await self._perform(sandboxes.set_timeout(self.sandbox_id, self.timeout_seconds))
        self.last_activity = datetime.now(UTC)

    async def ping(self) -> PingResponse:
        """Ask the agent for its health.

        Raises:
            InvocationError: it is not healthy, or does not answer in time.
            SessionNotFoundError: the session has ended.
            NetworkError: no whole answer arrived.
        """
        request = await self._addressed(agents.ping())
        seconds = self._platform.config.control_timeout
        reply = await self._platform.ask(request, sandbox_id=self.sandbox_id, otherwise=InvocationError, seconds=seconds)
        if not reply.ok:
            raise faults.from_agent(reply, self.sandbox_id)
        return PingResponse.model_validate(reply.json())

    async def get_status(self) -> SessionStatus:
        """Return the state of the session as the platform knows it; an ended one is CLOSED, or ERROR where its agent failed."""
        try:
            detail = await self._perform(sandboxes.get_sandbox(self.sandbox_id))
        except SessionNotFoundError as error:
            self._learn(error)
        else:
            self.status = status_of(detail)
        return self.status

    async def close(self) -> None:
        """End the agent and the sandbox. Closing what has ended already is no error."""
        with suppress(SessionNotFoundError):
            await self._perform(sandboxes.delete_sandbox(self.sandbox_id))
        if self.status is not SessionStatus.ERROR:
            self.status = SessionStatus.CLOSED
        self.client.forget(self.sandbox_id)

    @property
    def host_url(self) -> str:
        """The address of the agent's port: what a browser opens, where the sandbox admits it."""
        return f"{self.sandbox.scheme}://{self.sandbox.get_host(agents.AGENT_PORT)}"

    @property
    def is_active(self) -> bool:
        return self.status is SessionStatus.ACTIVE

    @property
    def is_paused(self) -> bool:
        return self.status is SessionStatus.PAUSED

    @property
    def sandbox_id(self) -> str:
        return self.sandbox.id

    @property
    def session_id(self) -> str:
        """The same as `sandbox_id`."""
        return self.sandbox.id

    @property
    def age_seconds(self) -> float:
        """Seconds since the sandbox was started."""
        return (datetime.now(UTC) - self.created_at).total_seconds()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last call through this object."""
        return (datetime.now(UTC) - self.last_activity).total_seconds()

    def __repr__(self) -> str:
        return f"SandboxSession(sandbox_id={self.sandbox_id!r}, template_id={self.template_id!r}, status={self.status.value!r})"

    @property
    def _platform(self) -> Platform:
        return self.client.platform

    async def _perform(self, call: Call[T]) -> T:
        return await self._platform.perform(call, otherwise=SandboxOperationError, sandbox_id=self.sandbox_id)

    async def _addressed(self, request: Request) -> Request:
        """Return the request on its way to the agent's port; a session found in a list learns here what admits to it."""
        if self.sandbox.access_token is None:
            detail = await self._perform(sandboxes.get_sandbox(self.sandbox_id))
            self.sandbox = replace(self.sandbox, access_token=detail.envd_access_token)
        self.last_activity = datetime.now(UTC)
        return request.to(self.sandbox.url(agents.AGENT_PORT), self.sandbox.headers(agents.AGENT_PORT))

    def _seconds(self, body: Mapping[str, Any], timeout: float | None) -> float:
        told = body.get("timeout")
        return timeout or (told if isinstance(told, (int, float)) and told > 0 else self.client.timeout)

    async def _chunks(self, request: AnyRequest, timeout: float | None) -> Opening:  # noqa: ASYNC109 (of each silence)
        body = invocation.encodable(invocation.body_of(request)) | {"stream": True}
        to_agent = await self._addressed(agents.invoke(body, stream=True))
        seconds = self._seconds(body, timeout)
        started = time.perf_counter()
        try:
            async with self._platform.stream(to_agent, otherwise=InvocationError, sandbox_id=self.sandbox_id, seconds=seconds) as reply:
                if reply.status >= 400 or not invocation.is_stream(reply.headers):
                    whole = invocation.response_of(await reply.whole(), self.sandbox_id, time.perf_counter() - started)
                    yield None
                    yield invocation.as_text(whole.result)
                    return
                yield None
                async for chunk in invocation.chunks_of(reply, self.sandbox_id):
                    yield chunk
        except AgentClientError as error:
            await self._explain(error)
            raise
        finally:
            self.last_activity = datetime.now(UTC)

    async def _explain(self, error: AgentClientError) -> None:
        """Remember what a failure says of the session's state. An answer that was cut off is looked into: the ingress knows, or
        waits until it knows, whether the sandbox has ended, and its reason goes into the error.
        """
        if isinstance(error, NetworkError):
            try:
                request = await self._addressed(agents.ping())
                reply = await self._platform.ask(request, sandbox_id=self.sandbox_id, otherwise=NetworkError, seconds=EXPLAINING_SECONDS)
            except AgentClientError:
                return
            if reply.ok:
                return
            cause = faults.from_agent(reply, self.sandbox_id)
            if cause.details.get("state") is not None:
                error.details.update(cause.details)
                error.message = f"{error.message}: {cause.message}"
            error = cause
        self._learn(error)

    def _learn(self, error: AgentClientError) -> None:
        """Remember what a failure says of the session's state."""
        if isinstance(error, SessionNotFoundError):
            self.status = SessionStatus.ERROR if error.details.get("state") == "failed" else SessionStatus.CLOSED
        elif error.error_code == wire.AGENT_CRASHED.slug:
            self.status = SessionStatus.ERROR
        elif error.error_code == wire.SANDBOX_PAUSED.slug:
            self.status = SessionStatus.PAUSED


def status_of(detail: SandboxDetail) -> SessionStatus:
    """Return the state of a session that has not ended."""
    return SessionStatus.PAUSED if detail.state == "paused" else SessionStatus.ACTIVE
