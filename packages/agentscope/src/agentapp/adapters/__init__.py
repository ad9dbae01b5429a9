"""One package per major version of AgentScope; the only code that imports it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def install() -> None:
    """Make AgentScope what apps expect of it.

    Raises:
        ImportError: AgentScope is not there, or is not 1.x.
    """
    try:
        found = version("agentscope")
    except PackageNotFoundError:
        raise ImportError("AgentScope is not installed, and agentscope.runtime needs it: pip install 'agentscope>=1.0.21,<2'") from None
    if found.partition(".")[0] != "1":
        raise ImportError(f"agentscope.runtime is for AgentScope 1.x, and {found} is installed: pip install 'agentscope>=1.0.21,<2'")
    from agentapp.adapters import agentscope1  # noqa: PLC0415 (only where AgentScope is there)

    agentscope1.install()
