"""`agentscope.runtime`: see the package `agentapp`, which this re-exports."""

from agentapp.face import *  # noqa: F403 (its __all__ is the front door)  # pyright: ignore[reportWildcardImportFromLibrary]
from agentapp.face import __all__  # noqa: F401
