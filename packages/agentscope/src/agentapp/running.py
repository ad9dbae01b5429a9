"""`runtime`: models, tools and sessions of the app that this process serves."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from agentapp.config import load
from agentapp.errors import ConfigError, NotInitializedError
from agentapp.loading import app_class
from agentapp.serving.instances import Instances
from agentapp.sessions import Sessions, make_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentscope.model import ChatModelBase
    from anyio.abc import TaskGroup

    from agentapp.adapters.agentscope1 import RuntimeModel, RuntimeToolkit
    from agentapp.app import AgentApp
    from agentapp.config import AppConfig, SessionSettings
    from agentapp.tools import Link, Registry

logger = logging.getLogger("agentapp")

CONNECT_SECONDS = 5.0
"""So long a start waits for MCP servers that neither accept nor refuse; it goes on without them."""


class Models:
    """`runtime.models`: by attribute or item. Each access gives a model of its own over one client per slot."""

    def __init__(self, config: AppConfig) -> None:
        self._config = config
        self._made: dict[str, ChatModelBase] = {}

    def __getitem__(self, slot: str) -> RuntimeModel:
        from agentapp.adapters.agentscope1 import RuntimeModel, make_model  # noqa: PLC0415 (loads AgentScope)

        if slot not in self._config.models:
            known = ", ".join(self._config.models) or "none"
            raise KeyError(f"agentapp.yaml has no models.{slot}; there are: {known}")
        if told := self._config.missing.get(f"models.{slot}"):
            raise ConfigError(f"models.{slot} cannot be used: {told}")
        if slot not in self._made:
            self._made[slot] = make_model(slot, self._config.models[slot])
        return RuntimeModel(self._made[slot])

    def __getattr__(self, slot: str) -> RuntimeModel:
        if slot.startswith("_"):
            raise AttributeError(slot)
        try:
            return self[slot]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __contains__(self, slot: object) -> bool:
        return slot in self._config.models

    def __iter__(self) -> Iterator[str]:
        return iter(self._config.models)

    def __len__(self) -> int:
        return len(self._config.models)

    def keys(self) -> list[str]:
        """The names of the slots."""
        return list(self._config.models)

    async def close(self) -> None:
        """Close the clients that were made."""
        for model in self._made.values():
            client = getattr(model, "client", None)
            close = getattr(getattr(client, "aio", None), "aclose", None) or getattr(client, "close", None)
            closing = close() if close is not None else None
            if inspect.isawaitable(closing):
                await closing


class Running:
    """What an initialized runtime consists of. `tasks` owns everything that goes on beside requests."""

    def __init__(self, config: AppConfig, project: Path, tasks: TaskGroup) -> None:
        from agentapp.adapters.agentscope1 import RuntimeToolkit  # noqa: PLC0415 (loads AgentScope)
        from agentapp.tools import Link, Registry  # noqa: PLC0415 (loads mcp)

        self.config = config
        self.tasks = tasks
        self.models = Models(config)
        self.registry: Registry = Registry()
        self.tools: RuntimeToolkit = RuntimeToolkit(self.registry)
        self.links: list[Link] = [
            Link(name, told, self.registry) for name, told in config.mcp_servers.items() if f"mcp_servers.{name}" not in config.missing
        ]
        self.store = make_store(config.session, project)
        self.session = Sessions(self.store, config.session, config.name, own=_own_session(config.session))
        server = config.server
        self.instances = Instances(
            self._another, limit=server.max_instances, max_waiting=server.max_waiting, shared=server.isolation == "shared"
        )
        self.app_class: type[AgentApp] | None = None
        self.app: AgentApp | None = None

    async def start(self) -> None:
        """Open the store, and try to connect to each MCP server once."""
        await self.store.open()
        for work in (self.session.keep, self.instances.farewell, *(link.run for link in self.links)):
            self.tasks.start_soon(work)
        with anyio.move_on_after(CONNECT_SECONDS):
            for link in self.links:
                await link.tried.wait()

    async def begin(self, app: type[AgentApp]) -> None:
        """Make the app's first instance. Where variables are still missing, that is left for the first message."""
        self.app_class = app
        try:
            self.app = await self.instances.prepare()
        except ConfigError as error:
            if not self.config.missing:
                raise
            logger.warning("the app does not start before its first message: %s", error)

    async def stop(self) -> None:
        """Shut instances down and close what is open; tasks of `tasks` are the owner's to end."""
        await self.instances.close()
        await self.models.close()
        await self.store.close()

    async def _another(self) -> AgentApp:
        if self.app_class is None:
            raise NotInitializedError("there is no app to make instances of")
        app = self.app_class()
        await app.on_startup()
        return app


def _is_beside(path: Path) -> bool:
    """Tell whether the file is there, and not running already."""
    running = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return path.is_file() and not any(file and Path(file).absolute() == path for file in running)


def _own_session(settings: SessionSettings) -> str:
    """Return the session of the sandbox that this is, where its store is a file that no other sandbox has."""
    alone = settings.kind == "sqlite" and settings.path is None and settings.url is None
    return os.environ.get("PPIO_SANDBOX_ID", "") if alone else ""


class Runtime:
    """One per process. `agentscope run` initializes it; scripts may do so themselves."""

    def __init__(self) -> None:
        self._running: Running | None = None
        self._owner: asyncio.Task[None] | None = None
        self._stop = anyio.Event()

    @property
    def is_initialized(self) -> bool:
        """Whether the rest can be used."""
        return self._running is not None

    @property
    def config(self) -> AppConfig:
        """The configuration, with its variables put in."""
        return self.running.config

    @property
    def models(self) -> Models:
        """The models of the configuration."""
        return self.running.models

    @property
    def tools(self) -> RuntimeToolkit:
        """The toolkit with the tools of the MCP servers."""
        return self.running.tools

    @property
    def session(self) -> Sessions:
        """Loads and saves session state."""
        return self.running.session

    @property
    def app(self) -> AgentApp | None:
        """The app's first instance; None where the runtime was initialized without an app."""
        return self.running.app

    @property
    def running(self) -> Running:
        """Everything that runs.

        Raises:
            NotInitializedError: nothing does.
        """
        if self._running is None:
            raise NotInitializedError(
                "the runtime is not initialized: start the app with `agentscope run`, or `await runtime.initialize()`"
            )
        return self._running

    async def initialize(self, config_path: str | Path = "agentapp.yaml", project_path: str | Path = ".") -> None:
        """Read the configuration (relative to the project) and start models, tools and sessions; also the app, where its file is there
        and is not the very program that asks: an application of one's own may be called app.py too.

        Raises:
            ConfigError: the configuration has mistakes.
            NotInitializedError: the runtime runs already.
        """
        project = Path(project_path).resolve()  # noqa: ASYNC240 (once, before anything runs)
        config = load(project / config_path, os.environ)
        await self.start(config, project, app_class(project, config) if _is_beside(project / config.app.partition(":")[0]) else None)

    async def start(self, config: AppConfig, project: Path, app: type[AgentApp] | None) -> None:
        """Start with a configuration that was read. A task of its own owns all that runs."""
        if self._owner is not None:
            raise NotInitializedError("the runtime runs already")
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stop = anyio.Event()
        self._owner = asyncio.get_running_loop().create_task(self._own(config, project, app, started))
        try:
            await asyncio.shield(started)
        except BaseException:
            await self.shutdown()
            raise

    async def shutdown(self) -> None:
        """End everything; the runtime can be initialized again."""
        owner, self._owner = self._owner, None
        if owner is not None:
            self._stop.set()
            await asyncio.wait([owner])
            owner.result()

    async def _own(self, config: AppConfig, project: Path, app: type[AgentApp] | None, started: asyncio.Future[None]) -> None:
        async with anyio.create_task_group() as tasks:
            running = Running(config, project, tasks)
            try:
                await self._run(running, app, started)
            except Exception as error:
                if started.done():
                    raise
                started.set_exception(error)
            finally:
                self._running = None
                with anyio.CancelScope(shield=True):
                    await running.stop()
                tasks.cancel_scope.cancel()

    async def _run(self, running: Running, app: type[AgentApp] | None, started: asyncio.Future[None]) -> None:
        await running.start()
        self._running = running
        if app is not None:
            await running.begin(app)
        started.set_result(None)
        await self._stop.wait()


runtime: Any = Runtime()
"""The runtime of this process. Typed as anything: slots are attributes that only `agentapp.yaml` knows."""
