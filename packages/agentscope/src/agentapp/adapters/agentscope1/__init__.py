"""AgentScope 1.x: what seed 003 uses and 1.0.21 lacks."""

from agentapp.adapters.agentscope1.installing import install, message_of, quiet, set_up_tracing
from agentapp.adapters.agentscope1.models import Chunk, RuntimeModel, make_model
from agentapp.adapters.agentscope1.toolkits import RuntimeToolkit

__all__ = ["Chunk", "RuntimeModel", "RuntimeToolkit", "install", "make_model", "message_of", "quiet", "set_up_tracing"]
