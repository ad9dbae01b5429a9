"""`/mcp` and `/mcp/{alias}`: prefab functions as tools of the Model Context Protocol, over streamable HTTP.

Every request stands alone (no sessions): it is authenticated like any other of the gateway, and the caller sees and calls what he may.
Both generations of the protocol are served: with and without `initialize`. News of the list of tools are for the second one: they come
on the answer to `subscriptions/listen`, where the first one would need a session.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import mcp_types as types
import orjson
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from starlette.requests import Request
from starlette.responses import Response

from sandkit.wire.gateway import (
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    OUTPUT_TOO_LARGE,
    PERMISSION_DENIED,
    VALIDATION_ERROR,
    Refusal,
)
from sandyard.domain.calls import Call
from sandyard.domain.prefabs import ALIAS
from sandyard.services.prefabs.jobs import Run
from sandyard.version import VERSION
from sandyard.web.gateway import bodies, tools
from sandyard.web.gateway.parts import caller_of
from sandyard.web.gateway.requests import read_inputs
from sandyard.web.gateway.under_way import UnderWay

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from contextlib import AbstractAsyncContextManager

    from mcp.server.context import ServerRequestContext
    from starlette.types import Message, Receive, Scope, Send

    from sandyard.domain.callers import Caller
    from sandyard.domain.prefabs import Function
    from sandyard.services.prefabs.registry import Published
    from sandyard.web.gateway.parts import GatewayParts

    Context = ServerRequestContext[Any, Request]

_PAGE = 200
_CANCELLED = -32800
"""What a request that was taken back is answered with, where it must be answered (the package's own word for it)."""
_LISTENERS = 32
"""How many streams of news one caller may have."""
_INSTRUCTIONS = (
    "Each tool is a function of a prefab. Input files are given as s3:// URLs; "
    "files that a tool leaves come back as such, and can be given to other tools."
)


class Tools:
    """The endpoint. It is asked within `running` only."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self._calls = UnderWay()
        self._listeners: Counter[tuple[str, str]] = Counter()
        server: Server[Any] = Server(
            "sandyard",
            version=VERSION,
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_subscriptions_listen=self._listen,
            get_tool_input_schema=lambda _: None,  # no schema of ours names headers
        )
        self._manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=bodies.JSON_LIMIT + 1)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Own the requests that are under way."""
        return self._manager.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request.scope["caller"] = await caller_of(request)
        alias = str(request.path_params.get("alias", "latest"))
        if not ALIAS.fullmatch(alias):
            raise Refusal(VALIDATION_ERROR, f"{alias[:100]!r} is no version such as 1.0.2, ^1 or latest")
        request.scope["alias"] = alias
        _admit(request)
        body = await bodies.read_body(request, limit=bodies.JSON_LIMIT, media=bodies.JSON_MEDIA)
        try:
            message = bodies.parse_json(body)
        except Refusal as refusal:
            await _unreadable(refusal)(scope, receive, send)
            return
        taken_back = _taken_back(message)
        if taken_back is not None:
            self._calls.cancel(_whose(request), taken_back)
        await self._manager.handle_request(scope, _again(body, receive), send)

    async def _list(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """List the tools that the caller may call, by name."""
        caller, alias = _who(context)
        after = (params.cursor if params else None) or ""
        versions = await self._versions(caller, alias)
        named = sorted((tool for found in versions for tool in tools.tools_of(found)), key=lambda tool: tool.name)
        rest = [tool for tool in named if tool.name > after]
        return types.ListToolsResult(tools=rest[:_PAGE], next_cursor=rest[_PAGE - 1].name if len(rest) > _PAGE else None)

    async def _versions(self, caller: Caller, alias: str) -> list[Published]:
        """Return the versions whose functions are the caller's tools."""
        seen = await self._parts.registry.list(caller)
        return tools.admitted([found for found in seen if caller.may_call(found.manifest.id)], alias)

    async def _listen(self, context: Context, params: types.SubscriptionsListenRequestParams) -> types.SubscriptionsListenResult:
        """Tell the caller whenever another list of tools would be the answer, until the server ends. There is no other news."""
        caller, alias = _who(context)
        who = (caller.tenant, caller.user)
        if self._listeners[who] >= _LISTENERS:
            raise MCPError(types.INVALID_REQUEST, f"You have {_LISTENERS} streams of news already")
        honoured = types.SubscriptionFilter(tools_list_changed=params.notifications.tools_list_changed or None)
        meta = {SUBSCRIPTION_ID_META_KEY: context.request_id}
        told: list[str] | None = None
        self._listeners[who] += 1
        try:
            async for _ in self._parts.registry.changes():
                now = [found.version.id for found in await self._versions(caller, alias)]
                if told is None:
                    acknowledged = types.SubscriptionsAcknowledgedNotificationParams(notifications=honoured, _meta=meta)
                    await _notify(context, types.SubscriptionsAcknowledgedNotification(params=acknowledged))
                elif now != told and honoured.tools_list_changed:
                    await _notify(context, types.ToolListChangedNotification(params=types.NotificationParams(_meta=meta)))
                told = now
        finally:
            self._listeners[who] -= 1
            if not self._listeners[who]:
                del self._listeners[who]
        return types.SubscriptionsListenResult(_meta=meta)

    async def _call(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Call a tool; what is refused or fails is an error in the result, and what is no tool is one of the protocol."""
        assert context.request is not None
        with self._calls.hold(_whose(context.request), context.request_id):
            return await self._called(context, params)
        raise MCPError(_CANCELLED, "The call was taken back")

    async def _called(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        caller, alias = _who(context)
        found, function = await self._tool(caller, params, alias)
        try:
            parameters, files = tools.inputs(function, params.arguments or {})
            _, checked = read_inputs({"files": files}, "")
            call = Call(
                prefab_id=found.manifest.id,
                version=found.version.version,
                function=function.name,
                parameters=parameters,
                files=checked,
            )
            return await self._run(context, caller, call, function)
        except Refusal as refusal:
            return tools.failure(refusal.error())

    async def _tool(self, caller: Caller, params: types.CallToolRequestParams, alias: str) -> tuple[Published, Function]:
        wished: object = (params.meta or {}).get(tools.VERSION_KEY, alias)
        name = tools.split(params.name)
        if name is None or not isinstance(wished, str):
            raise _unknown(params.name)
        try:
            found = await self._parts.registry.resolve(caller, name[0], wished)
        except Refusal as refusal:
            if refusal.code == NOT_FOUND:
                raise _unknown(params.name) from None
            raise MCPError(types.INVALID_PARAMS, refusal.message, refusal.error()) from None
        function = found.manifest.function(name[1])
        if function is None or not caller.may_call(name[0]):
            raise _unknown(params.name)
        return found, function

    async def _run(self, context: Context, caller: Caller, call: Call, function: Function) -> types.CallToolResult:
        jobs = self._parts.jobs
        begun = await jobs.begin(caller, [call])
        assert isinstance(begun, Run), "without a key there is no earlier job"
        heard = _Heard(context, self._parts.settings.gateway.output_bytes)
        async with jobs.owned(begun):
            await jobs.finish(begun, heard.event if function.streaming else None)
        result = begun.results[0]
        assert result is not None, "a finished job has its results"
        return tools.answer(function, result, heard.collected(result.done) if function.streaming else result.output)


class _Heard:
    """What a streaming function yields: progress goes to the client at once, content is kept for the result."""

    def __init__(self, context: Context, limit: int) -> None:
        self._context = context
        self._room = limit
        self._content: list[Any] = []
        self._progress = 0.0

    async def event(self, _: int, event: Mapping[str, Any]) -> None:
        if event["type"] == "progress":
            self._progress, total, message = tools.progress(event.get("data"), self._progress)
            await self._context.session.report_progress(self._progress, total, message)
        elif event["type"] == "content":
            self._room -= len(orjson.dumps(event))
            if self._room < 0:
                raise Refusal(OUTPUT_TOO_LARGE, "The function's events together are more than a collected answer may hold")
            self._content.append(event.get("data"))

    def collected(self, done: Mapping[str, Any] | None) -> dict[str, Any]:
        texts = [item for item in self._content if isinstance(item, str)]
        content = "".join(texts) if len(texts) == len(self._content) else self._content
        return {"content": content, "result": (done or {}).get("data")}


def _who(context: Context) -> tuple[Caller, str]:
    assert context.request is not None, "streamable HTTP hands its requests on"
    return context.request.scope["caller"], context.request.scope["alias"]


def _whose(request: Request) -> Hashable:
    """Return what requests of one client have in common, as far as it can be told."""
    caller: Caller = request.scope["caller"]
    return caller.tenant, caller.user, caller.credential, request.client and request.client.host, request.headers.get("user-agent")


def _taken_back(message: Any) -> Hashable | None:
    """Return the id of the request that a `notifications/cancelled` is about; None for every other message."""
    fields = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
    params = fields.get("params")
    if fields.get("method") != "notifications/cancelled" or not isinstance(params, dict):
        return None
    return cancelled_request_id_from_params(cast("dict[str, Any]", params))


async def _notify(context: Context, notification: types.ServerNotification) -> None:
    await context.session.send_notification(notification, related_request_id=context.request_id)


def _admit(request: Request) -> None:
    """Refuse what the transport does not serve: streams that a session would need, sessions (nobody has one), pages of other sites."""
    if request.method != "POST":
        raise Refusal(METHOD_NOT_ALLOWED, f"{request.method} is not allowed here", headers={"Allow": "POST"})
    if "mcp-session-id" in request.headers:
        raise Refusal(NOT_FOUND, "There is no such session: this endpoint gives out none, and every request stands alone")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Refusal(PERMISSION_DENIED, "Pages of other origins may not call this endpoint")


def _unknown(name: str) -> MCPError:
    return MCPError(types.INVALID_PARAMS, f"Unknown tool: {name[:200]}")


def _unreadable(refusal: Refusal) -> Response:
    """Return the protocol's own error for a body that cannot be read."""
    error = {"code": types.PARSE_ERROR, "message": refusal.message, "data": {"error_code": BAD_REQUEST}}
    return Response(orjson.dumps({"jsonrpc": "2.0", "id": None, "error": error}), refusal.status, media_type="application/json")


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read already, and then what comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
