"""From a project's directory to a server that runs until it is told to end."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agentapp import adapters
from agentapp.config import CONFIG_NAME, load
from agentapp.errors import AppError
from agentapp.loading import app_class
from agentapp.running import runtime
from agentapp.service import logs
from agentapp.service.listening import Listener
from agentapp.service.server import AppServer
from ppio_sandbox.agent_runtime.runtime.models import RuntimeConfig

if TYPE_CHECKING:
    from agentapp.config import AppConfig

logger = logging.getLogger("agentapp")

EXIT_UNUSABLE = 2
"""The configuration or the app cannot be used as it is."""


def serve(
    project: str | Path = ".",
    *,
    host: str | None = None,
    port: int | None = None,
    log_level: str = "info",
    platform: bool = True,
) -> int:
    """Serve the app in `project` until SIGTERM or SIGINT; return the exit code.

    An argument wins over PPIO_AGENT_HOST and PPIO_AGENT_PORT, those over agentapp.yaml, that over 127.0.0.1:8080. In a sandbox, models
    whose variables are not set do not keep the app from starting: sessions bring them.
    """
    directory = Path(project).resolve()
    try:
        config = load(directory / CONFIG_NAME, os.environ, defer="PPIO_SANDBOX_ID" in os.environ)
        redacted = logs.configure(log_level, config.secrets())
        return _served(directory, config, (host, port), redacted, platform=platform)
    except AppError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_UNUSABLE


def _served(directory: Path, config: AppConfig, address: tuple[str | None, int | None], redacted: logs.Redacted, *, platform: bool) -> int:
    adapters.install()
    from agentapp.adapters import agentscope1  # noqa: PLC0415 (loads AgentScope)

    agentscope1.quiet()
    logs.adopt(redacted)
    if config.tracing is not None:
        agentscope1.set_up_tracing(config.tracing.endpoint)
    app = app_class(directory, config)
    instance_id = (
        (config.platform and config.platform.instance_id) or os.environ.get("PPIO_SANDBOX_ID") or f"{socket.gethostname()}-{os.getpid()}"
    )

    async def start() -> None:
        await runtime.start(config, directory, app)
        if platform and config.platform is not None:
            from agentapp.platform import Heartbeat  # noqa: PLC0415 (loads an HTTP client, for those that have a platform)

            heartbeat = Heartbeat(config.platform, instance_id, lambda: server.figures, listener.restart)
            runtime.running.tasks.start_soon(heartbeat.run)

    settings = _settings(config, *address)
    server = AppServer(settings, runtime, start, make_message=agentscope1.message_of, redacted=redacted, instance_id=instance_id)
    listener = Listener(server, settings)
    return listener.run()


def _settings(config: AppConfig, host: str | None, port: int | None) -> RuntimeConfig:
    told = config.server
    environment = os.environ
    return RuntimeConfig(
        host=host or environment.get("PPIO_AGENT_HOST") or told.host or "127.0.0.1",
        port=port if port is not None else int(environment.get("PPIO_AGENT_PORT") or told.port),
        timeout=told.timeout,
        max_request_size=told.max_request_bytes,
        heartbeat=told.heartbeat,
        cors_origins=[],
        debug=False,
    )
