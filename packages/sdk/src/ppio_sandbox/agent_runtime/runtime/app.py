"""`AgentRuntimeApp`: a function becomes an agent (seed 001 §3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from ppio_sandbox.agent_runtime.runtime.context import AgentRuntimeContext
from ppio_sandbox.agent_runtime.runtime.models import RuntimeConfig
from ppio_sandbox.agent_runtime.runtime.server import AgentRuntimeServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppio_sandbox.agent_runtime.runtime.asgi import Receive, Scope, Send
    from ppio_sandbox.agent_runtime.runtime.models import PingStatus, RequestContext

Function = TypeVar("Function", bound="Callable[..., Any]")


class AgentRuntimeApp:
    """An agent: register its function with `@app.entrypoint`, then `app.run()`, or serve `app` with any ASGI server.

    `debug` sets `config.debug`: each request is logged, and the debug actions of AgentCore's contract are answered.
    """

    def __init__(self, config: RuntimeConfig | None = None, debug: bool = False) -> None:
        if debug:
            config = (config or RuntimeConfig()).model_copy(update={"debug": True})
        self._server = AgentRuntimeServer(config)
        self.config = self._server.config

    @overload
    def entrypoint(self, func: Function) -> Function: ...
    @overload
    def entrypoint(self, func: None = None) -> Callable[[Function], Function]: ...
    def entrypoint(self, func: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Register the function that answers invocations, and return it unchanged.

        It is called with `(request)` or `(request, context)`; `request` is the decoded JSON body. Plain functions and
        generators run in threads, `async` ones on the event loop. Generators and async generators stream.

        Raises:
            RuntimeError: there is an entrypoint already.
            TypeError: it cannot be called with a request.
        """
        if func is None:
            return self.entrypoint
        self._server.set_entrypoint_handler(func)
        return func

    def ping(self, func: Function) -> Function:
        """Register the agent's own health check `() -> PingStatus | dict | bool`, plain or async, and return it unchanged."""
        self._server.set_ping_handler(func)
        return func

    def middleware(self, middleware_func: Function) -> Function:
        """Put `async middleware_func(request, call_next) -> Response` around every route; the first one is outermost."""
        self._server.add_middleware(middleware_func)
        return middleware_func

    def websocket(self, func: Function) -> Function:
        """Have async `func(websocket)` or `func(websocket, context)` serve `/ws`, and return it unchanged; it accepts itself."""
        self._server.set_websocket_handler(func)
        return func

    def async_task(self, func: Function) -> Function:
        """Return async `func` tracked: while a call of it runs, `/ping` says HealthyBusy.

        Raises:
            ValueError: it is not async.
        """
        return cast("Function", self._server.health.tasks.tracked(func))

    def add_async_task(self, name: str, metadata: dict[str, Any] | None = None) -> int:
        """Begin to track background work, and return its number for `complete_async_task`."""
        return self._server.health.tasks.add(name, metadata)

    def complete_async_task(self, task_id: int) -> bool:
        """Track that work no more; False if there is none of that number."""
        return self._server.health.tasks.complete(task_id)

    def get_async_task_info(self) -> dict[str, Any]:
        """Return `{"active_count", "running_jobs": [{"name", "duration"}]}`, durations in seconds."""
        return self._server.health.tasks.info()

    def force_ping_status(self, status: PingStatus | str) -> None:
        """Have `/ping` say `status`, whatever the agent's own check and background work say."""
        self._server.health.force(status)

    def clear_forced_ping_status(self) -> None:
        """Have `/ping` find out again."""
        self._server.health.force(None)

    def run(self, port: int | None = None, host: str | None = None) -> None:
        """Serve until SIGTERM or SIGINT.

        An argument wins over a field that was set in the configuration, that over the environment of when the app was made
        (PPIO_AGENT_PORT, PPIO_AGENT_HOST), those over the defaults (8080, 0.0.0.0).

        Raises:
            RuntimeError: there is no entrypoint.
        """
        self._server.run(port, host)

    @property
    def context(self) -> RequestContext | None:
        """The context of the request that this code serves, or None outside of a request."""
        return AgentRuntimeContext.get_current_context()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        await self._server(scope, receive, send)
