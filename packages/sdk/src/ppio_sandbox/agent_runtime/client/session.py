"""One session: a sandbox with an agent in it, from its start to its end."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from ppio_sandbox.agent_runtime.client import faults, invocation, rules
from ppio_sandbox.agent_runtime.client.control import Control, ObjectControl, PlatformControl
from ppio_sandbox.agent_runtime.client.exceptions import AgentClientError, InvocationError, NetworkError
from ppio_sandbox.agent_runtime.client.models import SessionStatus
from ppio_sandbox.agent_runtime.client.sandbox import Sandbox
from ppio_sandbox.agent_runtime.client.state import SessionState
from ppio_sandbox.agent_runtime.client.stream import ChunkStream
from sandkit.http import agents
from sandkit.wire.invocations import InvocationRequest, InvocationResponse, PingResponse

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from ppio_sandbox.agent_runtime.client.client import AgentRuntimeClient
    from ppio_sandbox.agent_runtime.client.platform import Platform
    from ppio_sandbox.agent_runtime.client.stream import Opening
    from sandkit.http.messages import Request

EXPLAINING_SECONDS = 5.0

AnyRequest = InvocationRequest | dict[str, Any] | str


class SandboxSession(SessionState):
    """One sandbox and the calls to its agent; the session's id is the sandbox's (seed 001 §4.2).

    To start afresh, close it and create another: there is no restart.
    """

    def __init__(
        self,
        template_id: str,
        sandbox: Any,
        client: AgentRuntimeClient,
        *,
        session_id: str | None = None,
        timeout_seconds: int = 300,
        created_at: datetime | None = None,
    ) -> None:
        """Attach to a running sandbox. Use `AgentRuntimeClient.create_session` or `get_session`.

        `sandbox` is this platform's, or any object with `id` or `sandbox_id`, `get_host`, `pause`, `resume` or `connect`, `close` or
        `kill`, sync or async: another SDK's, or a test's. `session_id` is what such an object is called where it has no id.
        `timeout_seconds` is the life that `refresh` and `resume` give it, from then on.
        """
        super().__init__(template_id, timeout_seconds, created_at)
        self.client = client
        is_ours = isinstance(sandbox, Sandbox)
        self._control: Control = PlatformControl(sandbox, client.platform) if is_ours else ObjectControl(sandbox, session_id)

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
            ValidationError: something in the request has no form in JSON.
        """
        return self.stream(request) if stream else self.call(request)

    async def call(self, request: AnyRequest, timeout: float | None = None) -> InvocationResponse:  # noqa: ASYNC109 (of the call)
        """Call the agent and return its whole answer. `timeout` is in seconds; else the request's own, else the client's."""
        rules.check_open(self.status, self.sandbox_id)
        body, to_agent = invocation.prepared(request)
        seconds = rules.call_seconds(body, timeout, self.client.timeout)
        started = time.perf_counter()
        to_agent = await self._addressed(to_agent)
        try:
            reply = await self._platform.ask(to_agent, sandbox_id=self.sandbox_id, otherwise=InvocationError, seconds=seconds)
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
        with self._operation("pause"):
            await self._control.pause()
        self.status = SessionStatus.PAUSED

    async def resume(self) -> None:
        """Let a paused sandbox go on where it was; it then lives at least `timeout_seconds`.

        Raises:
            SandboxOperationError: it cannot be resumed.
            SessionNotFoundError: the session has ended.
        """
        with self._operation("resume"):
            await self._control.resume(self.timeout_seconds)
        self.status = SessionStatus.ACTIVE

    async def refresh(self) -> None:
        """Renew the session: it lives `timeout_seconds` from now on.

        Raises:
            SandboxOperationError: it cannot be renewed.
            SessionNotFoundError: the session has ended.
        """
        with self._operation("refresh"):
            await self._control.renew(self.timeout_seconds)
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
        self._saw(await self._control.status(self.status))
        return self.status

    async def close(self) -> None:
        """End the agent and the sandbox. Closing what has ended already is no error.

        Raises:
            SandboxOperationError: it cannot be closed; the status is ERROR then, and closing may be tried again.
        """
        if self.status is not SessionStatus.CLOSED:
            try:
                with rules.operating("close", self.sandbox_id):
                    await self._control.end()
            except AgentClientError:
                self.status = SessionStatus.ERROR
                raise
            self.status = SessionStatus.CLOSED
        self._ended()

    async def __aenter__(self) -> Self:
        """Return the session; leaving the block closes it."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def sandbox(self) -> Any:
        """The sandbox: what this session was made with."""
        return self._control.sandbox

    @property
    def host_url(self) -> str:
        """The address of the agent's port: what a browser opens, where the sandbox admits it."""
        return self._control.host_url

    @property
    def sandbox_id(self) -> str:
        """The id of the sandbox, which is the session's."""
        return self._control.sandbox_id

    @property
    def _platform(self) -> Platform:
        return self.client.platform

    async def _addressed(self, request: Request) -> Request:
        self.last_activity = datetime.now(UTC)
        return await self._control.addressed(request)

    async def _chunks(self, request: AnyRequest, timeout: float | None) -> Opening:  # noqa: ASYNC109 (of each silence)
        rules.check_open(self.status, self.sandbox_id)
        body, to_agent = invocation.prepared(request, stream=True)
        seconds = rules.call_seconds(body, timeout, self.client.timeout)
        to_agent = await self._addressed(to_agent)
        started = time.perf_counter()
        try:
            async with self._platform.stream(to_agent, otherwise=InvocationError, sandbox_id=self.sandbox_id, seconds=seconds) as reply:
                if reply.status >= 400 or not invocation.is_stream(reply.headers):
                    whole = invocation.response_of(await reply.whole(), self.sandbox_id, time.perf_counter() - started)
                    yield None
                    yield invocation.as_text(whole.result)
                    return
                yield None
                chunks = invocation.Chunks(self.sandbox_id)
                async for part in reply:
                    for chunk in chunks.feed(part):
                        yield chunk
                chunks.end()
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
            faults.explain(error, cause)
            error = cause
        self._learn(error)

    def _ended(self) -> None:
        if isinstance(self._control, PlatformControl):
            self.client.forget(self.sandbox_id)
