"""The client: sessions, templates, and calls that need neither."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import anyio

from ppio_sandbox.agent_runtime.client import faults, invocation, rules
from ppio_sandbox.agent_runtime.client.auth import AuthManager
from ppio_sandbox.agent_runtime.client.exceptions import AgentClientError, SessionNotFoundError
from ppio_sandbox.agent_runtime.client.models import AgentTemplate, ClientConfig, SandboxConfig
from ppio_sandbox.agent_runtime.client.platform import Platform
from ppio_sandbox.agent_runtime.client.sandbox import Sandbox
from ppio_sandbox.agent_runtime.client.session import SandboxSession
from ppio_sandbox.agent_runtime.client.settings import find_addresses
from ppio_sandbox.agent_runtime.client.stream import ChunkStream
from ppio_sandbox.agent_runtime.client.template import TemplateManager
from sandkit.http import sandboxes

if TYPE_CHECKING:
    from types import TracebackType

    from ppio_sandbox.agent_runtime.client.session import AnyRequest
    from ppio_sandbox.agent_runtime.client.stream import Opening
    from sandkit.wire.invocations import InvocationResponse
    from sandkit.wire.sandboxes import SandboxDetail

CLOSING_SECONDS = 15.0


class AgentRuntimeClient:
    """Starts sessions from templates and calls the agents in them, over one pool of connections (seed 001 §4.1).

    Use it as `async with`, or call `close` at the end: that closes connections. Sessions outlive the client, until they are closed
    or their time is up: `get_session` finds them again from anywhere.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: int = 300,
        config: ClientConfig | None = None,
        *,
        api_secret: str | None = None,
    ) -> None:
        """Take what is given, else the environment: `PPIO_API_KEY`, `PPIO_API_URL`, `PPIO_SANDBOX_URL`. Nothing is sent yet.

        `timeout` is in seconds, of one call to an agent; with `api_secret` requests are signed; `config` holds all else.

        Raises:
            AuthenticationError: there is no API key.
            ValidationError: an address is none.
        """
        self.config = config or ClientConfig()
        self.timeout = rules.call_timeout(timeout, config)
        self.auth_manager = AuthManager(api_key, api_secret)
        self.platform = Platform(self.auth_manager, find_addresses(base_url, self.config), self.config)
        self.template_manager = TemplateManager(self.auth_manager, self.platform)
        self._created: dict[str, SandboxSession] = {}

    async def create_session(
        self,
        template_id: str,
        timeout_seconds: int = 300,
        config: SandboxConfig | None = None,
    ) -> SandboxSession:
        """Start a sandbox from a template (id, name, or `name:tag`) and return its session once the agent listens.

        The session ends `timeout_seconds` from now unless it is refreshed. Refusals for too much at once are tried again
        (`ClientConfig.max_retries`), within `ClientConfig.create_timeout`.

        Raises:
            TemplateNotFoundError: there is no such template.
            SandboxCreationError: the agent could not be started; `exit_code` and `output` say why.
            RateLimitError: there is no room now; `retry_after` says when to come back.
            AuthenticationError: the platform does not know the key.
            NetworkError: the platform was not reached.
        """
        wanted = rules.wanted_sandbox(template_id, timeout_seconds, config)
        with rules.about_template(template_id):
            made = await self.platform.create(wanted)
        sandbox = Sandbox(made.sandbox_id, self.platform.addresses, made.envd_access_token, made.domain)
        session = SandboxSession(made.template_id, sandbox, self, timeout_seconds=wanted.timeout or timeout_seconds)
        self._created[session.sandbox_id] = session
        return session

    async def get_session(self, sandbox_id: str | None = None, *, session_id: str | None = None) -> SandboxSession | None:
        """Return a session by its id, also one that another client created; None if it has ended, or never was."""
        try:
            return self._found(await self.platform.perform(sandboxes.get_sandbox(rules.one_id(sandbox_id, session_id))))
        except SessionNotFoundError:
            return None

    async def list_sessions(self) -> list[SandboxSession]:
        """Return all running and paused sessions of this API key, as the platform knows them."""
        found: list[SandboxSession] = []
        token: str | None = None
        while True:
            page, token = await self.platform.perform(sandboxes.list_sandboxes(token))
            found += [self._found(detail) for detail in page]
            if token is None:
                return found

    async def close_session(self, sandbox_id: str | None = None, *, session_id: str | None = None) -> None:
        """End a session.

        Raises:
            SessionNotFoundError: there is no such session, or not any more.
        """
        id_ = rules.one_id(sandbox_id, session_id)
        session = self._created.get(id_)
        await self.platform.perform(sandboxes.delete_sandbox(id_), sandbox_id=id_)
        if session is not None:
            await session.close()

    async def close_all_sessions(self) -> None:
        """End the sessions that this client has created; those of others, under the same key, are left alone.

        Raises:
            ExceptionGroup: of what failed; the others are closed.
        """
        results = await asyncio.gather(*[session.close() for session in self._created.values()], return_exceptions=True)
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise ExceptionGroup("some sessions could not be closed", failures)

    async def list_templates(
        self, tags: list[str] | None = None, name_filter: str | None = None, *, refresh: bool = False
    ) -> list[AgentTemplate]:
        """Return the templates that carry at least one of `tags` and whose name contains `name_filter`; `refresh` passes the cache
        by, where `ClientConfig.enable_cache` has switched it on.
        """
        return await self.template_manager.list_templates(tags, name_filter, refresh=refresh)

    async def get_template(self, template_id: str) -> AgentTemplate:
        """Return one template by id, name, or `name:tag`.

        Raises:
            TemplateNotFoundError: there is none.
        """
        return await self.template_manager.get_template(template_id)

    async def invoke_agent(
        self,
        template_id: str,
        request: AnyRequest,
        create_session: bool = True,
        sandbox_id: str | None = None,
        timeout: int | None = None,  # noqa: ASYNC109 (the seed's; it bounds the call, not this function)
        *,
        session_id: str | None = None,
    ) -> InvocationResponse:
        """Call an agent once: in the session named, or else in one made for this call and closed after it.

        `timeout` is in seconds, of the call.

        Raises:
            SessionNotFoundError: the session named has ended or never was.
            ValueError: none is named and none may be made; or the request has no form in JSON.
            InvocationError: the agent failed.
            AgentClientError: as `create_session` and `SandboxSession.invoke` raise.
        """
        body, _ = invocation.prepared(request)  # a session is made only for what can be sent
        session, is_ours = await self._session_for(template_id, create_session, sandbox_id or session_id)
        try:
            return await session.call(body, timeout)
        finally:
            if is_ours:
                await _close(session)

    def invoke_agent_stream(
        self,
        template_id: str,
        request: AnyRequest,
        create_session: bool = True,
        sandbox_id: str | None = None,
        *,
        session_id: str | None = None,
    ) -> ChunkStream:
        """Call an agent as `invoke_agent` does and return its chunks as they come; a session made for it ends with the stream."""
        return ChunkStream(self._chunks(template_id, request, create_session, sandbox_id or session_id))

    @property
    def base_url(self) -> str:
        """The address of the platform's API."""
        return self.platform.addresses.api

    def forget(self, sandbox_id: str) -> None:
        """Stop counting a session among those that `close_all_sessions` ends."""
        self._created.pop(sandbox_id, None)

    async def close(self) -> None:
        """Close the connections. Sessions live on; the client is of no more use, and says so."""
        await self.platform.aclose()

    async def __aenter__(self) -> Self:
        """Return the client; leaving the block closes it."""
        if self.platform.is_closed:
            raise faults.closed_client()
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None) -> None:
        """Close the connections; sessions live on."""
        await self.close()

    def _found(self, detail: SandboxDetail) -> SandboxSession:
        known = self._created.get(detail.sandbox_id)
        if known is not None:
            known.status = rules.status_of(detail)
            return known
        sandbox = Sandbox(detail.sandbox_id, self.platform.addresses, detail.envd_access_token)
        session = SandboxSession(detail.template_id, sandbox, self, timeout_seconds=rules.life_of(detail), created_at=detail.started_at)
        session.status = rules.status_of(detail)
        return session

    async def _session_for(self, template_id: str, may_create: bool, sandbox_id: str | None) -> tuple[SandboxSession, bool]:
        """Return the session to call, and whether it was made for the call."""
        if sandbox_id is not None:
            session = self._created.get(sandbox_id) or await self.get_session(sandbox_id)
            if session is None:
                raise rules.no_session(sandbox_id)
            return session, False
        if not may_create:
            raise rules.no_session_to_call()
        return await self.create_session(template_id), True

    async def _chunks(self, template_id: str, request: AnyRequest, may_create: bool, sandbox_id: str | None) -> Opening:
        body, _ = invocation.prepared(request)
        session, is_ours = await self._session_for(template_id, may_create, sandbox_id)
        stream = session.stream(body)
        try:
            await stream
            yield None
            async for chunk in stream:
                yield chunk
        finally:
            await stream.aclose()
            if is_ours:
                await _close(session)


async def _close(session: SandboxSession) -> None:
    """Close a session that nobody else knows, also when the call that needed it was cancelled; its time-out is the second net."""
    with anyio.move_on_after(CLOSING_SECONDS, shield=True):
        try:
            await session.close()
        except AgentClientError as error:
            error.add_note("while a session that was made for one call was being closed; it ends by itself when its time is up")
            raise
