"""`ppio_sandbox.agent_runtime.client` under the name of seed 002."""

from ppio_sandbox.agent_runtime.client import *  # noqa: F403 (an alias has every name)
from ppio_sandbox.agent_runtime.client import __all__ as __all__
