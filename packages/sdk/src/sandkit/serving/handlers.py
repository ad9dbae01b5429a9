"""A user's function as one awaitable call: its kind and its signature are looked at once, when it is registered."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from sandkit.serving.threads import Threads

PLAIN = (dict, str, list, int, float, bool, type(None))
"""What most functions return, and what neither streams nor needs any care."""

_CONTEXT_NAMES = ("context", "ctx")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Handler:
    """Calls `function` with the request and, where it asks for it, the context.

    `await handler(request, make_context, threads)` gives what the function returns, to be looked at with `stream_of`.
    Functions that are not `async` run in a thread.
    """

    def __init__(self, function: Callable[..., Any], context_type: type) -> None:
        """Look at `function`; a parameter annotated as `context_type` receives the context.

        Raises:
            TypeError: `function` cannot be called with a request.
        """
        self.function = function
        self.name = name_of(function)
        target = _code_of(function)
        self.streams = inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target)
        self.is_async = inspect.iscoroutinefunction(target)
        self._begun = _caller(function, _context_place(function, context_type))

    def __call__(self, request: Any, make_context: Callable[[], Any], threads: Threads) -> Awaitable[Any]:
        if self.is_async:
            return self._begun(request, make_context)
        return self._called(request, make_context, threads)

    async def _called(self, request: Any, make_context: Callable[[], Any], threads: Threads) -> Any:
        if self.streams:
            return self._begun(request, make_context)  # makes the generator, and runs none of the user's code yet
        result = await threads.call(self._begun, request, make_context)
        return await result if inspect.isawaitable(result) else result


def stream_of(result: Any, threads: Threads) -> AsyncIterator[Any] | None:
    """Return the chunks of what a function has returned, or None: generators and async iterators stream, nothing else does."""
    if isinstance(result, PLAIN):
        return None
    if inspect.isgenerator(result):
        return threads.iterate(cast("Generator[Any, None, Any]", result))
    return cast("AsyncIterator[Any]", result) if isinstance(result, AsyncIterator) else None


def name_of(function: Callable[..., Any]) -> str:
    """Return the name by which a human knows `function`."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _code_of(function: Any) -> Any:
    """Return what tells the kind: through partials and decorators, and the `__call__` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return function.__call__


def _caller(function: Callable[..., Any], context_at: str | None) -> Callable[[Any, Callable[[], Any]], Any]:
    """Return the call of `function` with a request and, where `_context_place` says so, the context, which is made only then."""
    match context_at:
        case None:
            return lambda request, _make_context: function(request)
        case "":
            return lambda request, make_context: function(request, make_context())
        case name:
            return lambda request, make_context: function(request, **{name: make_context()})


def _context_place(function: Callable[..., Any], context_type: type) -> str | None:
    """Return where the context goes: "" (the second position), the name of a keyword-only parameter, or None (nowhere)."""
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    if not positional and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise TypeError(f"{name_of(function)} takes no request: an entrypoint is called with (request) or (request, context)")
    if len(positional) > 1 and (positional[1].default is inspect.Parameter.empty or _is_context(positional[1], context_type)):
        return ""
    return next((p.name for p in parameters if p.kind is p.KEYWORD_ONLY and _is_context(p, context_type)), None)


def _is_context(parameter: inspect.Parameter, context_type: type) -> bool:
    """Tell by name, or by annotation (also one that is still text)."""
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else repr(annotation)
    return context_type.__name__ in text or parameter.name in _CONTEXT_NAMES
