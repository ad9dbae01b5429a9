"""AgentScope apps: a class and a YAML file become a served agent. Apps import `agentscope.runtime`; this is what is behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentapp.face import AgentApp, SessionContext, runtime
    from agentapp.service import serve

__all__ = ["AgentApp", "SessionContext", "runtime", "serve"]


def __getattr__(name: str) -> Any:
    """Load AgentScope (a second, 120 MB) only for those that want something of it."""
    if name == "serve":
        from agentapp.service import serve  # noqa: PLC0415 (see above)

        return serve
    if name in __all__:
        from agentapp import face  # noqa: PLC0415 (likewise)

        return getattr(face, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
