"""Which store the settings mean; libraries of those that are not used are never imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentapp.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from agentapp.config.model import SessionSettings
    from agentapp.sessions.ports import SessionStore

# ruff: noqa: PLC0415 (see above)

DEFAULT_FILE = ".agentapp/sessions.db"


def make_store(settings: SessionSettings, project: Path) -> SessionStore:
    """Return the store; relative paths are the project's.

    Raises:
        ConfigError: its library is not installed.
    """
    url = settings.url.get_secret_value() if settings.url else ""
    try:
        match settings.kind:
            case "memory":
                from agentapp.sessions.memory import MemoryStore

                return MemoryStore()
            case "sqlite":
                from agentapp.sessions.sqlite import SqliteStore

                return SqliteStore(project / (settings.path or url.removeprefix("sqlite://") or DEFAULT_FILE))
            case "postgres":
                from agentapp.sessions.postgres import PostgresStore

                return PostgresStore(url)
            case "redis":
                from agentapp.sessions.redis import RedisStore

                return RedisStore(url)
    except ModuleNotFoundError as error:
        extra = settings.kind
        raise ConfigError(f"session.backend {extra} needs a library: pip install 'sandyard-agentscope[{extra}]' ({error})") from None
