"""`agentapp.yaml`: what may stand in it, and reading it."""

from agentapp.config.loading import CONFIG_NAME, load
from agentapp.config.model import AppConfig, McpServer, ModelSlot, PlatformSettings, ServerSettings, SessionSettings, TracingSettings

__all__ = [
    "CONFIG_NAME",
    "AppConfig",
    "McpServer",
    "ModelSlot",
    "PlatformSettings",
    "ServerSettings",
    "SessionSettings",
    "TracingSettings",
    "load",
]
