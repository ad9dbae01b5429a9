"""What is added to AgentScope's own classes, once per process, and nothing else is changed."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (AgentScope is annotated with bare dicts, lists and queues)

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, Any

import agentscope
from agentscope.agent import AgentBase, ReActAgent
from agentscope.message import Msg

from agentapp.adapters.agentscope1 import streaming
from agentapp.adapters.agentscope1.models import formatter_for
from agentapp.adapters.agentscope1.toolkits import RuntimeToolkit

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from agentapp.serving.inbound import Inbound

_MARK = "__agentapp__"


def install() -> None:
    """Give agents `stream`, `ReActAgent` a formatter and a toolkit of its own, and cancellation its meaning."""
    if hasattr(AgentBase, _MARK):
        return
    setattr(AgentBase, _MARK, agentscope.__version__)
    AgentBase.stream = streaming.stream  # pyright: ignore[reportAttributeAccessIssue] (that it lacks it is why)
    AgentBase.__call__ = streaming.answering(AgentBase.__call__)  # pyright: ignore[reportAttributeAccessIssue] (an awaitable is one)
    AgentBase.interrupt = streaming.interrupting(AgentBase.interrupt)  # pyright: ignore[reportAttributeAccessIssue] (likewise)
    ReActAgent.__init__ = _completing(ReActAgent.__init__)


def quiet() -> None:
    """Have agents print nothing to standard output: a server's is not a terminal, and tools such as MCP servers may speak there."""
    os.environ["AGENTSCOPE_DISABLE_CONSOLE_OUTPUT"] = "true"


def set_up_tracing(endpoint: str) -> None:
    """Send OpenTelemetry traces to `endpoint`, for the context that this is called in and those that are made from it."""
    from agentscope import _config  # noqa: PLC0415 (private, and only for those that trace)  # pyright: ignore[reportPrivateUsage]
    from agentscope.tracing import setup_tracing  # noqa: PLC0415 (OpenTelemetry is for those that use it)

    setup_tracing(endpoint=endpoint)
    _config.trace_enabled = True


def silence_handlers(formatter: logging.Formatter) -> None:
    """Have AgentScope's own logger write through `formatter`."""
    for handler in agentscope.logger.handlers:
        handler.setFormatter(formatter)


def message_of(inbound: Inbound) -> Msg:
    """Return the `Msg` that an app gets. Its id is new: the memory drops messages whose id it knows."""
    return Msg(inbound.name, inbound.content, inbound.role)  # pyright: ignore[reportArgumentType] (checked blocks, a checked role)


def _completing(original: Callable[..., None]) -> Callable[..., None]:
    """Return `ReActAgent.__init__` with a formatter that fits the model where none is given, and a fork of the runtime's toolkit."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init(self: ReActAgent, *args: Any, **kwargs: Any) -> None:
        given = signature.bind_partial(self, *args, **kwargs).arguments
        if given.get("formatter") is None and "model" in given:
            given["formatter"] = formatter_for(given["model"])
        toolkit = given.get("toolkit")
        if isinstance(toolkit, RuntimeToolkit):
            given["toolkit"] = toolkit.fork()
        del given["self"]
        original(self, **given)

    return init
