"""One MCP server: a task of its own holds the connection, and calls of any task go over it.

The libraries' clients tie a connection to the task that made it, and end that task when the server dies. So one task per server owns
all of it, and comes back by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from mcp import ClientSession, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import McpError
from mcp.types import CONNECTION_CLOSED, ServerNotification, TextContent, ToolListChangedNotification

from agentapp.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectSendStream
    from mcp.types import CallToolResult

    from agentapp.config import McpServer
    from agentapp.tools.registry import Registry

logger = logging.getLogger("agentapp")

FIRST_BACKOFF = 0.1
LAST_BACKOFF = 10.0
_WENT_AWAY = "the tool server {} went away during the call; it may have been carried out, or not"
_UNKNOWN_SESSION = 32600
"""The code by which the client tells that a restarted server does not know our session: it has not looked at the call."""


class _LostError(Exception):
    """The connection ended before the answer came. `unsent`: the server has certainly not seen the call."""

    def __init__(self, unsent: bool) -> None:
        super().__init__("the connection ended")
        self.unsent = unsent


class _Connection:
    """One connection, from its handshake to its end; calls that wait then are told. `tasks` end with it."""

    def __init__(self, session: ClientSession, tasks: TaskGroup) -> None:
        self.session = session
        self.tasks = tasks
        self.over = anyio.Event()
        self._calls: set[anyio.CancelScope] = set()
        self._unsent = False

    async def call(self, name: str, arguments: dict[str, Any], seconds: float) -> CallToolResult:
        """Call a tool.

        Raises:
            _LostError: the connection ended before the answer came.
        """
        with anyio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                return await self.session.call_tool(name, arguments, read_timeout_seconds=timedelta(seconds=seconds))
            finally:
                self._calls.discard(scope)
        raise _LostError(self._unsent)

    def end(self, error: BaseException | None = None) -> None:
        """Tell everybody that the connection is over. A refused connection in the only call's way means that it was never sent."""
        self._unsent = isinstance(error, httpx.ConnectError) and len(self._calls) == 1
        self.over.set()
        for scope in self._calls:
            scope.cancel()


class Link:
    """The server `name`. `run` keeps it connected for ever and tells `registry` its tools; `call_tool` calls one of them."""

    def __init__(self, name: str, told: McpServer, registry: Registry) -> None:
        self.name = name
        self._told = told
        self._registry = registry
        self._connection: _Connection | None = None
        self._changed = anyio.Event()
        self._wanted = anyio.Event()
        self.tried = anyio.Event()
        """Set when the first attempt to connect has ended, well or not."""

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost: after a growing while, or at once when a call wants it."""
        wait = FIRST_BACKOFF
        while True:
            began = time.monotonic()
            trouble = await self._connected_once()
            self.tried.set()
            if time.monotonic() - began > LAST_BACKOFF:
                wait = FIRST_BACKOFF
            logger.warning("the MCP server %s is not connected: %s", self.name, trouble)
            with anyio.move_on_after(wait):
                await self._wanted.wait()
            self._wanted = anyio.Event()
            wait = min(2 * wait, LAST_BACKOFF)

    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None, read_timeout_seconds: timedelta | None = None) -> Any:
        """Call a tool, as an MCP session would. Waits for the connection, within the server's `timeout`.

        A call is sent again only where the server cannot have seen it.

        Raises:
            ToolError: the server said that it failed, did not answer in time, or went away; the message is for the model.
        """
        seconds = read_timeout_seconds.total_seconds() if read_timeout_seconds else self._told.timeout
        try:
            with anyio.fail_after(seconds + 1):
                return await self._called(name, arguments or {}, seconds)
        except TimeoutError:
            raise ToolError(f"the tool server {self.name} did not answer within {seconds:g} s") from None

    async def _called(self, name: str, arguments: dict[str, Any], seconds: float) -> CallToolResult:
        while True:
            connection = await self._connected()
            try:
                result = await connection.call(name, arguments, seconds)
            except _LostError as error:
                if not error.unsent:
                    raise ToolError(_WENT_AWAY.format(self.name)) from None
                continue
            except McpError as error:
                if error.error.code == CONNECTION_CLOSED:
                    self._drop(connection)
                    raise ToolError(_WENT_AWAY.format(self.name)) from None
                if error.error.code != _UNKNOWN_SESSION or "terminated" not in error.error.message:
                    raise ToolError(f"the tool server {self.name} refused: {error.error.message}") from None
                self._drop(connection)
                continue
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                self._drop(connection)
                continue  # the connection had ended already: nothing was sent
            if result.isError:
                texts = [part.text for part in result.content if isinstance(part, TextContent)]
                raise ToolError("\n".join(texts) or f"the tool {name} failed")
            return result

    async def _connected(self) -> _Connection:
        while self._connection is None:
            self._wanted.set()
            await self._changed.wait()
        return self._connection

    def _drop(self, connection: _Connection, error: BaseException | None = None) -> None:
        if self._connection is connection:
            self._connection = None
        connection.end(error)

    async def _connected_once(self) -> str:
        """Hold one connection until it ends; return why it did."""
        task = asyncio.get_running_loop().create_task(self._held())
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
        error = None if task.cancelled() else _innermost(task.exception())
        if self._connection is not None:
            self._drop(self._connection, error)
        return (str(error) or type(error).__name__) if error else "the connection ended"

    async def _held(self) -> None:
        send, receive = anyio.create_memory_object_stream[Any]()
        async with send, receive, self._transport() as (reader, writer), anyio.create_task_group() as tasks:
            async with ClientSession(receive, writer, message_handler=self._hear) as session:
                connection = _Connection(session, tasks)
                tasks.start_soon(_passed_on, reader, send, connection)
                with anyio.fail_after(self._told.timeout):
                    await session.initialize()
                    self._registry.put(self, (await session.list_tools()).tools)
                self._connection = connection
                self.tried.set()
                self._changed.set()
                self._changed = anyio.Event()
                await connection.over.wait()
            tasks.cancel_scope.cancel()

    async def _hear(self, message: Any) -> None:
        """Notice a broken connection, and that the server has other tools now."""
        connection = self._connection
        if connection is None:
            return
        if isinstance(message, Exception):
            self._drop(connection)
        elif isinstance(message, ServerNotification) and isinstance(message.root, ToolListChangedNotification):
            connection.tasks.start_soon(self._listed, connection)  # whoever hears cannot wait for an answer

    async def _watch(self, response: httpx.Response) -> None:
        """Have a body that breaks off end the connection: the library only logs it, and the call would wait for its time-out."""

        def broken(error: BaseException) -> None:
            if self._connection is not None:
                self._drop(self._connection, error)

        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _Watched(response.stream, broken)

    async def _listed(self, connection: _Connection) -> None:
        try:
            with anyio.fail_after(self._told.timeout):
                self._registry.put(self, (await connection.session.list_tools()).tools)
        except (TimeoutError, McpError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            logger.warning("the MCP server %s did not tell its tools: %s", self.name, error)

    @asynccontextmanager
    async def _transport(self) -> AsyncGenerator[tuple[Any, Any]]:
        told = self._told
        headers = {name: value.get_secret_value() for name, value in told.headers.items()}
        async with AsyncExitStack() as stack:
            if told.way == "stdio":
                env = {name: value.get_secret_value() for name, value in told.env.items()}
                program = StdioServerParameters(command=told.command or "", args=told.args, env=env or None)
                reader, writer = await stack.enter_async_context(stdio_client(program))
            elif told.way == "sse":
                reader, writer = await stack.enter_async_context(sse_client(told.url or "", headers, told.timeout, told.sse_read_timeout))
            else:
                timeout = httpx.Timeout(told.timeout, read=told.sse_read_timeout)
                client = await stack.enter_async_context(create_mcp_http_client(headers, timeout))
                client.event_hooks = {"response": [self._watch]}
                reader, writer, _ = await stack.enter_async_context(
                    streamable_http_client(told.url or "", http_client=client, terminate_on_close=False)
                )
            yield reader, writer


class _Watched(httpx.AsyncByteStream):
    """A body; `broken` is called where it does not end as it should."""

    def __init__(self, stream: httpx.AsyncByteStream, broken: Callable[[BaseException], None]) -> None:
        self._stream = stream
        self._broken = broken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            self._broken(error)
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _passed_on(reader: Any, send: MemoryObjectSendStream[Any], connection: _Connection) -> None:
    """Pass what comes on, and notice its end: a session of the library goes on waiting then."""
    async with send:
        async for message in reader:
            await send.send(message)
    connection.end()


def _innermost(error: BaseException | None) -> BaseException | None:
    """Return the first real error inside of groups of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] (a group of anything)
    return error  # pyright: ignore[reportUnknownVariableType]
