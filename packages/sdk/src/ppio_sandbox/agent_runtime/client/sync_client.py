"""`AgentRuntimeClient` for scripts and notebooks: the same decisions and the same wire, by plain calls, from any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ppio_sandbox.agent_runtime.client import faults, invocation, rules
from ppio_sandbox.agent_runtime.client.auth import AuthManager
from ppio_sandbox.agent_runtime.client.exceptions import AgentClientError, SessionNotFoundError, TemplateNotFoundError
from ppio_sandbox.agent_runtime.client.models import AgentTemplate, ClientConfig, SandboxConfig
from ppio_sandbox.agent_runtime.client.sandbox import Sandbox
from ppio_sandbox.agent_runtime.client.settings import find_addresses
from ppio_sandbox.agent_runtime.client.sync_platform import SyncPlatform
from ppio_sandbox.agent_runtime.client.sync_session import SyncChunkStream, SyncSandboxSession
from ppio_sandbox.agent_runtime.client.template import TemplateCache, matching, template_of
from sandkit.http import sandboxes, templates

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from ppio_sandbox.agent_runtime.client.session import AnyRequest
    from sandkit.wire.invocations import InvocationResponse
    from sandkit.wire.sandboxes import SandboxDetail


class SyncTemplateManager:
    """`TemplateManager` by plain calls."""

    def __init__(self, auth_manager: AuthManager, platform: SyncPlatform) -> None:
        self.auth_manager = auth_manager
        self._platform = platform
        self._cache = TemplateCache(platform.config)

    def list_templates(
        self, tags: list[str] | None = None, name_filter: str | None = None, *, refresh: bool = False
    ) -> list[AgentTemplate]:
        """Return the templates that carry at least one of `tags` and whose name contains `name_filter`, whatever its case."""
        found = None if refresh else self._cache.all()
        if found is None:
            found = [template_of(info) for info in self._platform.perform(templates.list_templates())]
            self._cache.keep(found)
        return matching(found, tags, name_filter)

    def get_template(self, template_id: str) -> AgentTemplate:
        """Return one template by id, name, or `name:tag`.

        Raises:
            TemplateNotFoundError: there is none.
        """
        kept = self._cache.find(template_id)
        if kept is not None:
            return kept
        with rules.about_template(template_id):
            return template_of(self._platform.perform(templates.get_template(template_id)))

    def template_exists(self, template_id: str) -> bool:
        """Whether there is such a template for this caller."""
        try:
            self.get_template(template_id)
        except TemplateNotFoundError:
            return False
        return True


class SyncAgentRuntimeClient:
    """Starts sessions from templates and calls the agents in them, over one pool of connections.

    Use it with `with`, or call `close` at the end: that closes connections. Sessions outlive the client.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: int = rules.DEFAULT_TIMEOUT,
        config: ClientConfig | None = None,
        *,
        api_secret: str | None = None,
    ) -> None:
        """Take what `AgentRuntimeClient` takes, from the same places."""
        self.config = config or ClientConfig()
        self.timeout = rules.call_timeout(timeout, config)
        self.auth_manager = AuthManager(api_key, api_secret)
        self.platform = SyncPlatform(self.auth_manager, find_addresses(base_url, self.config), self.config)
        self.template_manager = SyncTemplateManager(self.auth_manager, self.platform)
        self._created: dict[str, SyncSandboxSession] = {}

    def create_session(
        self, template_id: str, timeout_seconds: int = rules.DEFAULT_LIFE, config: SandboxConfig | None = None
    ) -> SyncSandboxSession:
        """Start a sandbox from a template and return its session once the agent listens. Raises as `AgentRuntimeClient`'s."""
        wanted = rules.wanted_sandbox(template_id, timeout_seconds, config)
        with rules.about_template(template_id):
            made = self.platform.create(wanted)
        sandbox = Sandbox(made.sandbox_id, self.platform.addresses, made.envd_access_token, made.domain)
        session = SyncSandboxSession(made.template_id, sandbox, self, timeout_seconds=wanted.timeout or timeout_seconds)
        self._created[session.sandbox_id] = session
        return session

    def get_session(self, sandbox_id: str | None = None, *, session_id: str | None = None) -> SyncSandboxSession | None:
        """Return a session by its id, also one that another client created; None if it has ended, or never was."""
        try:
            return self._found(self.platform.perform(sandboxes.get_sandbox(rules.one_id(sandbox_id, session_id))))
        except SessionNotFoundError:
            return None

    def list_sessions(self) -> list[SyncSandboxSession]:
        """Return all running and paused sessions of this API key, as the platform knows them."""
        found: list[SyncSandboxSession] = []
        token: str | None = None
        while True:
            page, token = self.platform.perform(sandboxes.list_sandboxes(token))
            found += [self._found(detail) for detail in page]
            if token is None:
                return found

    def close_session(self, sandbox_id: str | None = None, *, session_id: str | None = None) -> None:
        """End a session.

        Raises:
            SessionNotFoundError: there is no such session, or not any more.
        """
        id_ = rules.one_id(sandbox_id, session_id)
        self.platform.perform(sandboxes.delete_sandbox(id_), sandbox_id=id_)
        session = self._created.get(id_)
        if session is not None:
            session.close()

    def close_all_sessions(self) -> None:
        """End the sessions that this client has created.

        Raises:
            ExceptionGroup: of what failed; the others are closed.
        """
        failures: list[AgentClientError] = []
        for session in list(self._created.values()):
            try:
                session.close()
            except AgentClientError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("some sessions could not be closed", failures)

    def list_templates(
        self, tags: list[str] | None = None, name_filter: str | None = None, *, refresh: bool = False
    ) -> list[AgentTemplate]:
        """Return the templates that carry at least one of `tags` and whose name contains `name_filter`."""
        return self.template_manager.list_templates(tags, name_filter, refresh=refresh)

    def get_template(self, template_id: str) -> AgentTemplate:
        """Return one template by id, name, or `name:tag`.

        Raises:
            TemplateNotFoundError: there is none.
        """
        return self.template_manager.get_template(template_id)

    def invoke_agent(
        self,
        template_id: str,
        request: AnyRequest,
        create_session: bool = True,
        sandbox_id: str | None = None,
        timeout: int | None = None,
        *,
        session_id: str | None = None,
    ) -> InvocationResponse:
        """Call an agent once: in the session named, or else in one made for this call and closed after it."""
        body, _ = invocation.prepared(request)  # a session is made only for what can be sent
        session, is_ours = self._session_for(template_id, create_session, sandbox_id or session_id)
        try:
            return session.call(body, timeout)
        finally:
            if is_ours:
                session.close()

    def invoke_agent_stream(
        self,
        template_id: str,
        request: AnyRequest,
        create_session: bool = True,
        sandbox_id: str | None = None,
        *,
        session_id: str | None = None,
    ) -> SyncChunkStream:
        """Call an agent as `invoke_agent` does and return its chunks as they come; a session made for it ends with the stream."""
        return SyncChunkStream(self._chunks(template_id, request, create_session, sandbox_id or session_id))

    @property
    def base_url(self) -> str:
        """The address of the platform's API."""
        return self.platform.addresses.api

    def forget(self, sandbox_id: str) -> None:
        """Stop counting a session among those that `close_all_sessions` ends."""
        self._created.pop(sandbox_id, None)

    def close(self) -> None:
        """Close the connections. Sessions live on; the client is of no more use, and says so."""
        self.platform.close()

    def __enter__(self) -> Self:
        if self.platform.is_closed:
            raise faults.closed_client()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _found(self, detail: SandboxDetail) -> SyncSandboxSession:
        known = self._created.get(detail.sandbox_id)
        if known is not None:
            known.status = rules.status_of(detail)
            return known
        sandbox = Sandbox(detail.sandbox_id, self.platform.addresses, detail.envd_access_token)
        life = rules.life_of(detail)
        session = SyncSandboxSession(detail.template_id, sandbox, self, timeout_seconds=life, created_at=detail.started_at)
        session.status = rules.status_of(detail)
        return session

    def _session_for(self, template_id: str, may_create: bool, sandbox_id: str | None) -> tuple[SyncSandboxSession, bool]:
        """Return the session to call, and whether it was made for the call."""
        if sandbox_id is not None:
            session = self._created.get(sandbox_id) or self.get_session(sandbox_id)
            if session is None:
                raise rules.no_session(sandbox_id)
            return session, False
        if not may_create:
            raise rules.no_session_to_call()
        return self.create_session(template_id), True

    def _chunks(self, template_id: str, request: AnyRequest, may_create: bool, sandbox_id: str | None) -> Generator[str]:
        body, _ = invocation.prepared(request)
        session, is_ours = self._session_for(template_id, may_create, sandbox_id)
        try:
            with session.stream(body) as stream:
                yield from stream
        finally:
            if is_ours:
                session.close()
