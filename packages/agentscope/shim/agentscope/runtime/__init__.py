"""`agentscope.runtime`: see the package `agentapp`, which this re-exports."""

from agentapp.face import *  # noqa: F403 (the front door is `agentapp.face.__all__`)
from agentapp.face import __all__  # noqa: F401
