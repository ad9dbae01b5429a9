"""The context of the request at hand, wherever the agent's code runs: in tasks and threads that the request has started."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from ppio_sandbox.agent_runtime.runtime.models import RequestContext

if TYPE_CHECKING:
    from collections.abc import Callable


class AgentRuntimeContext:
    """The context of the request at hand (seed 001 §3.3)."""

    @classmethod
    def get_current_context(cls) -> RequestContext | None:
        """Return the context of the request that this code serves, or None outside of a request."""
        current = _current.get()
        return current if current is None or isinstance(current, RequestContext) else current()

    @classmethod
    def set_current_context(cls, context: RequestContext) -> None:
        """Make `context` the current one for this task or thread and those that it starts."""
        _current.set(context)

    @classmethod
    def clear_current_context(cls) -> None:
        """Have no current context any more."""
        _current.set(None)

    @classmethod
    def defer(cls, make_context: Callable[[], RequestContext]) -> None:
        """Have the context made when first asked for: most agents never ask. `make_context` returns the same one each time."""
        _current.set(make_context)


_current: ContextVar[RequestContext | Callable[[], RequestContext] | None] = ContextVar("agent_runtime_context", default=None)
