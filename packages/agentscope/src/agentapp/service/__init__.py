"""The app as a service: `/invoke`, `/health`, and the agent's `/invocations` and `/ping`."""

from agentapp.service.server import AppServer
from agentapp.service.serving import serve

__all__ = ["AppServer", "serve"]
