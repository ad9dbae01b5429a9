"""Every key of `agentapp.yaml`. Times are in seconds, sizes in bytes; secrets do not show in logs."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Provider = Literal["openai", "anthropic", "dashscope", "gemini", "ollama"]
Transport = Literal["sse", "streamable_http", "stdio"]
Backend = Literal["sqlite", "postgres", "redis", "memory"]

_SCHEMES: dict[str, Backend] = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "redis": "redis",
    "rediss": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    "unix": "redis",
    "sqlite": "sqlite",
}


class Section(BaseModel):
    """A part of the file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ModelSlot(Section):
    """A model: `runtime.models.<slot>`. `generate_kwargs` go with each request, `client_kwargs` to the provider's client."""

    provider: Provider
    model: str = Field(min_length=1)
    base_url: str | None = Field(None, pattern=r"^https?://")
    api_key: SecretStr | None = None
    stream: bool = True
    generate_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    client_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])


class McpServer(Section):
    """An MCP server whose tools are in `runtime.tools`: by `url`, or as a program (`command`). `timeout` bounds a call."""

    url: str | None = Field(None, pattern=r"^https?://")
    transport: Transport | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    timeout: float = Field(30, gt=0)
    sse_read_timeout: float = Field(300, gt=0)
    command: str | None = None
    args: list[str] = Field(default_factory=list[str])
    env: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])

    @property
    def way(self) -> Transport:
        """The transport: as told, else by what the address looks like."""
        if self.transport is not None:
            return self.transport
        if self.command is not None:
            return "stdio"
        return "sse" if (self.url or "").rstrip("/").endswith("/sse") else "streamable_http"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.way == "stdio") != (self.command is not None) or (self.way == "stdio") == (self.url is not None):
            raise ValueError("an MCP server has a `url` (transport sse or streamable_http) or a `command` (transport stdio)")
        return self


class SessionSettings(Section):
    """Where session state is kept. `ttl`: state that nobody has saved for so long is gone. A `lease` keeps other processes out."""

    backend: Backend | None = None
    url: SecretStr | None = None
    path: str | None = None
    ttl: float | None = Field(None, gt=0)
    max_bytes: int = Field(8 * 2**20, gt=0)
    lease: float = Field(15, ge=1)
    lease_wait: float = Field(10, ge=0)

    @property
    def kind(self) -> Backend:
        """The back end: as told, else by the URL's scheme, else a SQLite file."""
        if self.backend is not None:
            return self.backend
        return "sqlite" if self.url is None else _SCHEMES[self.url.get_secret_value().partition(":")[0]]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        url = self.url.get_secret_value() if self.url else None
        if url is not None and url.partition(":")[0] not in _SCHEMES:
            raise ValueError("`url` begins with postgresql://, redis://, rediss://, valkey:// or sqlite://")
        if self.kind in ("postgres", "redis") and url is None:
            raise ValueError(f"the back end {self.kind} needs a `url`")
        if url is not None and _SCHEMES[url.partition(":")[0]] != self.kind:
            raise ValueError(f"the `url` is not one of the back end {self.kind}")
        return self


class PlatformSettings(Section):
    """The platform that hears heartbeats, and may ask for a reload."""

    endpoint: str = Field(pattern=r"^https?://")
    instance_id: str | None = Field(None, pattern=r"^[\w.:@-]{1,128}$")
    heartbeat_interval: float = Field(30, gt=0)
    api_key: SecretStr | None = None


class TracingSettings(Section):
    """Where OpenTelemetry traces go (OTLP over HTTP)."""

    endpoint: str = Field(pattern=r"^https?://")


class ServerSettings(Section):
    """How the app is served. `timeout` bounds a whole answer (0: nothing does); `max_waiting` the messages that wait for one session."""

    host: str | None = None
    port: int = Field(8080, ge=0, le=65535)
    isolation: Literal["session", "shared"] = "session"
    on_disconnect: Literal["cancel", "finish"] = "cancel"
    timeout: int = Field(300, ge=0)
    max_request_bytes: int = Field(4 * 2**20, gt=0)
    max_instances: int = Field(1000, ge=1)
    max_waiting: int = Field(16, ge=1)
    heartbeat: float = Field(15, gt=0)


class AppConfig(Section):
    """The whole file. `app` is the Python file of the app, with `:Class` where its class is not called App."""

    name: str = Field("app", pattern=r"^[\w.:@-]{1,128}$")
    app: str = Field("app.py", pattern=r"^[^/\\:][^:]*\.py(:[A-Za-z_]\w*)?$")
    models: dict[str, ModelSlot] = Field(default_factory=dict[str, ModelSlot])
    mcp_servers: dict[str, McpServer] = Field(default_factory=dict[str, McpServer])
    session: SessionSettings = SessionSettings.model_validate({})
    platform: PlatformSettings | None = None
    tracing: TracingSettings | None = None
    server: ServerSettings = ServerSettings.model_validate({})
    missing: dict[str, str] = Field(default_factory=dict[str, str], exclude=True)
    """Not a key of the file: `models.main` or `mcp_servers.search` to the sentence on a variable that is not set yet."""

    @property
    def fetching(self) -> str:
        """A provider of these models whose library fetches the web addresses in messages itself, from where the app runs."""
        return next((slot.provider for slot in self.models.values() if slot.provider in _FETCHING), "")

    def secrets(self) -> set[str]:
        """Return every text that must not show in a log line or an error."""
        values = [slot.api_key for slot in self.models.values()]
        for server in self.mcp_servers.values():
            values += [*server.headers.values(), *server.env.values()]
        values += [self.session.url, self.platform.api_key if self.platform else None]
        return {value.get_secret_value() for value in values if value is not None and len(value.get_secret_value()) >= _SECRET_LENGTH}


_FETCHING = ("gemini", "ollama")
_SECRET_LENGTH = 4
"""Shorter values are no secrets, and hiding them would make logs unreadable."""

NAMED = {"models": ModelSlot, "mcp_servers": McpServer}
"""Sections whose keys are the user's own."""
PLAIN = {"session": SessionSettings, "platform": PlatformSettings, "tracing": TracingSettings, "server": ServerSettings}
