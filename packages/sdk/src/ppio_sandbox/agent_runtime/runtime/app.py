"""`AgentRuntimeApp`: a function becomes an agent (seed 001 §3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from ppio_sandbox.agent_runtime.runtime.context import AgentRuntimeContext
from ppio_sandbox.agent_runtime.runtime.models import RuntimeConfig
from ppio_sandbox.agent_runtime.runtime.server import AgentRuntimeServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppio_sandbox.agent_runtime.runtime.asgi import Receive, Scope, Send
    from ppio_sandbox.agent_runtime.runtime.models import RequestContext

Function = TypeVar("Function", bound="Callable[..., Any]")


class AgentRuntimeApp:
    """An agent: register its function with `@app.entrypoint`, then `app.run()`, or serve `app` with any ASGI server.

    `debug` sets `config.debug`: requests are logged.
    """

    def __init__(self, config: RuntimeConfig | None = None, debug: bool = False) -> None:
        config = config or RuntimeConfig()
        self.config = config.model_copy(update={"debug": True}) if debug else config
        self._server = AgentRuntimeServer(self.config)

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

    def run(self, port: int | None = None, host: str | None = None) -> None:
        """Serve until SIGTERM or SIGINT.

        An argument wins over a field that was set in the configuration, that over the environment (PPIO_AGENT_PORT,
        PPIO_AGENT_HOST), those over the defaults (8080, 0.0.0.0).

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
