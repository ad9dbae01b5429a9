"""Finding the app's class in its file."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from agentapp.app import AgentApp
from agentapp.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from agentapp.config import AppConfig


def app_class(project: Path, config: AppConfig) -> type[AgentApp]:
    """Run the app's file and return its class: the one that is told, or `App`, or the only subclass of `AgentApp`.

    Raises:
        ConfigError: there is no such file or class. What the file itself raises comes through.
    """
    name, _, wanted = config.app.partition(":")
    path = project / name
    if not path.is_file():
        raise ConfigError(f"there is no {path}; `app` in agentapp.yaml names the Python file of the app")
    module = _run(path, project)
    found = {key: value for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, AgentApp)}
    own = {key: value for key, value in found.items() if value.__module__ == module.__name__}
    if wanted or "App" in found:
        if (wanted or "App") not in found:
            raise ConfigError(f"{path} has no class {wanted} that is an AgentApp; it has: {', '.join(own) or 'none'}")
        return found[wanted or "App"]
    if len(own) != 1:
        raise ConfigError(f"{path} has {len(own)} classes that are an AgentApp; call one App, or write `app: {name}:TheClass`")
    return next(iter(own.values()))


def _run(path: Path, project: Path) -> ModuleType:
    """Import the file by its own name, with the project first on the path, as `python app.py` would."""
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
