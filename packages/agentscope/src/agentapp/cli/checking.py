"""`agentscope check`: what can be said without running anything."""

from __future__ import annotations

import ast
import os
import sys
from typing import TYPE_CHECKING

from agentapp.config import CONFIG_NAME, load
from agentapp.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from agentapp.config import AppConfig

MISTAKES = 2


def check(project: Path) -> int:
    """Print the mistakes, or what would be served; return the exit code."""
    try:
        config = load(project / CONFIG_NAME, os.environ)
        found = _class(project, config)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return MISTAKES
    slots = ", ".join(f"{slot} ({told.provider} {told.model})" for slot, told in config.models.items()) or "none"
    servers = ", ".join(f"{name} ({told.way})" for name, told in config.mcp_servers.items()) or "none"
    sys.stdout.write(f"{config.name}: {found} in {config.app.partition(':')[0]}\nmodels: {slots}\nMCP servers: {servers}\n")
    sys.stdout.write(f"sessions: {config.session.kind}\n")
    return 0


def _class(project: Path, config: AppConfig) -> str:
    """Return the name of the app's class, as far as the source tells it."""
    name, _, wanted = config.app.partition(":")
    path = project / name
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}; `app` in {CONFIG_NAME} names the Python file of the app") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as Python: {error}") from None
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    apps = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any("AgentApp" in ast.unparse(base) for base in node.bases)
    ]
    if wanted or "App" in classes:
        if (wanted or "App") not in classes:
            raise ConfigError(f"{path} has no class {wanted}; it has: {', '.join(classes) or 'none'}")
        return wanted or "App"
    if len(apps) != 1:
        raise ConfigError(f"{path} has {len(apps)} classes that are an AgentApp; call one App, or write `app: {name}:TheClass`")
    return apps[0]
