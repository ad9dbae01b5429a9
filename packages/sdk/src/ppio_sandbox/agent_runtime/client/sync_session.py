"""`SandboxSession` for scripts and notebooks: the same promises, by plain calls."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from ppio_sandbox.agent_runtime.client import faults, invocation, rules
from ppio_sandbox.agent_runtime.client.exceptions import (
    AgentClientError,
    InvocationError,
    NetworkError,
)
from ppio_sandbox.agent_runtime.client.models import SessionStatus
from ppio_sandbox.agent_runtime.client.sandbox import Sandbox
from ppio_sandbox.agent_runtime.client.state import SessionState
from ppio_sandbox.agent_runtime.client.sync_control import SyncObjectControl, SyncPlatformControl
from sandkit.http import agents
from sandkit.wire.invocations import InvocationResponse, PingResponse

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from ppio_sandbox.agent_runtime.client.session import AnyRequest
    from ppio_sandbox.agent_runtime.client.sync_client import SyncAgentRuntimeClient
    from ppio_sandbox.agent_runtime.client.sync_platform import SyncPlatform
    from sandkit.http.messages import Request

EXPLAINING_SECONDS = 5.0


class SyncChunkStream:
    """Chunks of text as the agent yields them. The call is sent when the first one is asked for. Leaving a `for` loop, `close` and
    `with` close the connection, which cancels the agent's work.
    """

    def __init__(self, chunks: Generator[str]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[str]:
        return _Loop(self)

    def __next__(self) -> str:
        return next(self._chunks)

    def close(self) -> None:
        """Close the connection, if it is open still."""
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Loop(Iterator[str]):
    """Belongs to one `for` alone: when that is left, nobody holds it any more, also where the stream has a name."""

    def __init__(self, stream: SyncChunkStream) -> None:
        self._stream = stream

    def __next__(self) -> str:
        return next(self._stream)

    def __del__(self) -> None:
        self._stream.close()


class SyncSandboxSession(SessionState):
    """One sandbox and the calls to its agent; the session's id is the sandbox's."""

    def __init__(
        self,
        template_id: str,
        sandbox: Any,
        client: SyncAgentRuntimeClient,
        *,
        session_id: str | None = None,
        timeout_seconds: int = rules.DEFAULT_LIFE,
        created_at: datetime | None = None,
    ) -> None:
        """Attach to a running sandbox. Use `SyncAgentRuntimeClient.create_session` or `get_session`.

        `sandbox` is this platform's, or any object as for `SandboxSession`, with plain verbs.
        """
        super().__init__(template_id, timeout_seconds, created_at)
        self.client = client
        is_ours = isinstance(sandbox, Sandbox)
        self._control = SyncPlatformControl(sandbox, client.platform) if is_ours else SyncObjectControl(sandbox, session_id)

    @overload
    def invoke(self, request: AnyRequest, stream: Literal[True]) -> SyncChunkStream: ...
    @overload
    def invoke(self, request: AnyRequest, stream: Literal[False] = False) -> InvocationResponse: ...
    @overload
    def invoke(self, request: AnyRequest, stream: bool) -> SyncChunkStream | InvocationResponse: ...
    def invoke(self, request: AnyRequest, stream: bool = False) -> SyncChunkStream | InvocationResponse:
        """Call the agent: its answer, or with `stream` an iterator of its chunks. Raises as `SandboxSession.invoke`."""
        return self.stream(request) if stream else self.call(request)

    def call(self, request: AnyRequest, timeout: float | None = None) -> InvocationResponse:
        """Call the agent and return its whole answer. `timeout` is in seconds; else the request's own, else the client's."""
        rules.check_open(self.status, self.sandbox_id)
        body, to_agent = invocation.prepared(request)
        seconds = rules.call_seconds(body, timeout, self.client.timeout)
        to_agent = self._addressed(to_agent)
        started = time.perf_counter()
        try:
            reply = self._platform.ask(to_agent, sandbox_id=self.sandbox_id, otherwise=InvocationError, seconds=seconds)
            return invocation.response_of(reply, self.sandbox_id, time.perf_counter() - started)
        except AgentClientError as error:
            self._explain(error)
            raise

    def stream(self, request: AnyRequest, timeout: float | None = None) -> SyncChunkStream:
        """Call the agent and return its chunks as they come. `timeout` bounds each silence, in seconds."""
        return SyncChunkStream(self._chunks(request, timeout))

    def pause(self) -> None:
        """Freeze the sandbox until `resume`. Pausing twice is once. Raises as `SandboxSession.pause`."""
        with self._operation("pause"):
            self._control.pause()
        self.status = SessionStatus.PAUSED

    def resume(self) -> None:
        """Let a paused sandbox go on where it was; it then lives at least `timeout_seconds`."""
        with self._operation("resume"):
            self._control.resume(self.timeout_seconds)
        self.status = SessionStatus.ACTIVE

    def refresh(self) -> None:
        """Renew the session: it lives `timeout_seconds` from now on."""
        with self._operation("refresh"):
            self._control.renew(self.timeout_seconds)
        self.last_activity = datetime.now(UTC)

    def ping(self) -> PingResponse:
        """Ask the agent for its health. Raises as `SandboxSession.ping`."""
        request = self._addressed(agents.ping())
        seconds = self._platform.config.control_timeout
        reply = self._platform.ask(request, sandbox_id=self.sandbox_id, otherwise=InvocationError, seconds=seconds)
        if not reply.ok:
            raise faults.from_agent(reply, self.sandbox_id)
        return PingResponse.model_validate(reply.json())

    def get_status(self) -> SessionStatus:
        """Return the state of the session as the platform knows it; an ended one is CLOSED, or ERROR where its agent failed."""
        self._saw(self._control.status(self.status))
        return self.status

    def close(self) -> None:
        """End the agent and the sandbox. Closing what has ended already is no error. Raises as `SandboxSession.close`."""
        if self.status is not SessionStatus.CLOSED:
            try:
                with rules.operating("close", self.sandbox_id):
                    self._control.end()
            except AgentClientError:
                self.status = SessionStatus.ERROR
                raise
            self.status = SessionStatus.CLOSED
        self._ended()

    @property
    def sandbox(self) -> Any:
        """The sandbox: what this session was made with."""
        return self._control.sandbox

    @property
    def host_url(self) -> str:
        """The address of the agent's port."""
        return self._control.host_url

    @property
    def sandbox_id(self) -> str:
        """The id of the sandbox, which is the session's."""
        return self._control.sandbox_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the session."""
        self.close()

    @property
    def _platform(self) -> SyncPlatform:
        return self.client.platform

    def _addressed(self, request: Request) -> Request:
        self.last_activity = datetime.now(UTC)
        return self._control.addressed(request)

    def _chunks(self, request: AnyRequest, timeout: float | None) -> Generator[str]:
        rules.check_open(self.status, self.sandbox_id)
        body, to_agent = invocation.prepared(request, stream=True)
        seconds = rules.call_seconds(body, timeout, self.client.timeout)
        to_agent = self._addressed(to_agent)
        started = time.perf_counter()
        try:
            with self._platform.stream(to_agent, otherwise=InvocationError, sandbox_id=self.sandbox_id, seconds=seconds) as reply:
                if reply.status >= 400 or not invocation.is_stream(reply.headers):
                    whole = invocation.response_of(reply.whole(), self.sandbox_id, time.perf_counter() - started)
                    yield invocation.as_text(whole.result)
                    return
                chunks = invocation.Chunks(self.sandbox_id)
                for part in reply:
                    yield from chunks.feed(part)
                chunks.end()
        except AgentClientError as error:
            self._explain(error)
            raise
        finally:
            self.last_activity = datetime.now(UTC)

    def _explain(self, error: AgentClientError) -> None:
        """Remember what a failure says of the session's state; of an answer that was cut off the ingress knows the reason."""
        if not isinstance(error, NetworkError):
            self._learn(error)
            return
        with suppress(AgentClientError):
            request = self._addressed(agents.ping())
            reply = self._platform.ask(request, sandbox_id=self.sandbox_id, otherwise=NetworkError, seconds=EXPLAINING_SECONDS)
            if not reply.ok:
                cause = faults.from_agent(reply, self.sandbox_id)
                faults.explain(error, cause)
                self._learn(cause)

    def _ended(self) -> None:
        if isinstance(self._control, SyncPlatformControl):
            self.client.forget(self.sandbox_id)
