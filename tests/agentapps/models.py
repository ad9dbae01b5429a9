"""A model server that thinks by script, in the protocols of five providers, and fails as told.

It answers the last user message: `You said: <text>`, word by word; with a text `use <tool> {json}` it calls that tool first and then
tells what came of it. `faults` are used up one per request, in order.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.requests import Request


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request. `status` with `headers`; in the stream after `after` words: `cut`, `stall` or `garbage`; or
    the whole answer is no model's: `page` (HTML), `nothing` (a stream without any chunk), `hollow` (each chunk without choices).
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    kind: str = ""
    after: int = 1


NO_ANSWERS = {
    "page": "<html><body>Sign in</body></html>",
    "nothing": "data: [DONE]\n\n",
    "hollow": 'data: {"id": "c", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": []}\n\ndata: [DONE]\n\n',
}


@dataclass
class ModelServer:
    """`url` is its address without a path; `requests` are the bodies that came; `left` counts streams whose reader went away."""

    url: str = ""
    delay: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    faults: deque[Fault] = field(default_factory=deque[Fault])
    streaming: int = 0
    left: anyio.Event = field(default_factory=anyio.Event)

    @property
    def openai(self) -> str:
        return f"{self.url}/v1"

    def said(self, text: str) -> list[dict[str, Any]]:
        """Return the requests whose messages contain `text`."""
        return [body for body in self.requests if text in json.dumps(body, ensure_ascii=False)]

    async def fault(self, request: Request) -> tuple[dict[str, Any], Fault | None]:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        return body, self.faults.popleft() if self.faults else None

    async def words(self, text: str, fault: Fault | None) -> AsyncGenerator[str]:
        """Yield the words of an answer; the reader's leaving is noticed where it waits."""
        self.streaming += 1
        done = False
        try:
            for number, word in enumerate(re.findall(r"\S+\s*", text)):
                if fault is not None and fault.kind and number == fault.after:
                    if fault.kind == "stall":
                        await anyio.sleep(60)
                    if fault.kind == "cut":
                        raise ConnectionResetError
                    yield "\0garbage"
                if self.delay:
                    await anyio.sleep(self.delay)
                yield word
            done = True
        finally:
            self.streaming -= 1
            if not done:
                self.left.set()


def answer_to(messages: list[dict[str, Any]], tools: bool) -> tuple[str, dict[str, Any] | None]:
    """Return the text of an answer, and the tool call before it if there is one."""
    last_user = max((number for number, message in enumerate(messages) if message["role"] == "user"), default=len(messages) - 1)
    question = text_of(messages[last_user]["content"])
    results = [text_of(message["content"]) for message in messages[last_user:] if message["role"] == "tool"]
    wanted = re.fullmatch(r"use (\S+) (\{.*\})", question)
    if wanted and tools and not results:
        return "Let me see. ", {"name": wanted[1], "arguments": wanted[2]}
    return f"The tool said: {results[-1]}" if results else f"You said: {question}", None


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = content or []
    return "".join(part.get("text", "") for part in parts)


async def openai(request: Request) -> Response:
    server: ModelServer = request.app.state.server
    body, fault = await server.fault(request)
    if fault is not None and fault.status != 200:
        return JSONResponse({"error": {"message": "as told", "type": "test"}}, fault.status, fault.headers)
    if fault is not None and fault.kind in NO_ANSWERS:
        return Response(NO_ANSWERS[fault.kind], media_type="text/html" if fault.kind == "page" else "text/event-stream")
    text, call = answer_to(body["messages"], bool(body.get("tools")))
    calls = [{"index": 0, "id": f"call_{len(server.requests)}", "type": "function", "function": call}] if call else None
    head = {"id": f"chatcmpl-{len(server.requests)}", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": text, "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})

    async def events() -> AsyncIterator[str]:
        async with contextlib.aclosing(server.words(text, fault)) as words:
            async for word in words:
                yield _event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}, head, word)
        if calls:
            yield _event({"choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]}, head)
        yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}]}, head)
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(value: dict[str, Any], head: dict[str, Any], word: str = "") -> str:
    if word.startswith("\0"):
        return "data: {this is no JSON\n\n"
    return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', **value})}\n\n"


async def anthropic(request: Request) -> Response:
    server: ModelServer = request.app.state.server
    body, _ = await server.fault(request)
    text, _ = answer_to(body["messages"], tools=False)
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "stop_reason": None, "usage": usage}
    if not body.get("stream"):
        return JSONResponse({**message, "stop_reason": "end_turn", "content": [{"type": "text", "text": text}]})

    async def events() -> AsyncIterator[str]:
        yield _named({"type": "message_start", "message": {**message, "content": []}})
        yield _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        async for word in server.words(text, None):
            yield _named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
        yield _named({"type": "content_block_stop", "index": 0})
        yield _named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
        yield _named({"type": "message_stop"})

    return StreamingResponse(events(), media_type="text/event-stream")


def _named(value: dict[str, Any]) -> str:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n"


async def dashscope(request: Request) -> Response:
    server: ModelServer = request.app.state.server
    body, _ = await server.fault(request)
    text, _ = answer_to(body["input"]["messages"], tools=False)

    def output(part: str, reason: str) -> dict[str, Any]:
        choice = {"finish_reason": reason, "message": {"role": "assistant", "content": part}}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        return {"output": {"choices": [choice]}, "usage": usage, "request_id": "r"}

    async def events() -> AsyncIterator[str]:
        async for word in server.words(text, None):
            yield f"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{json.dumps(output(word, 'null'))}\n\n"
        yield f"id:2\nevent:result\n:HTTP_STATUS/200\ndata:{json.dumps(output('', 'stop'))}\n\n"

    if request.headers.get("x-dashscope-sse") == "enable" or "event-stream" in request.headers.get("accept", ""):
        return StreamingResponse(events(), media_type="text/event-stream")
    return JSONResponse(output(text, "stop"))


async def gemini(request: Request) -> Response:
    server: ModelServer = request.app.state.server
    body, _ = await server.fault(request)
    question = "".join(part.get("text", "") for part in body["contents"][-1]["parts"])

    def piece(text: str) -> dict[str, Any]:
        usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}], "usageMetadata": usage}

    async def events() -> AsyncIterator[str]:
        async for word in server.words(f"You said: {question}", None):
            yield f"data: {json.dumps(piece(word))}\r\n\r\n"

    if request.path_params["call"].endswith("streamGenerateContent"):
        return StreamingResponse(events(), media_type="text/event-stream")
    return JSONResponse(piece(f"You said: {question}"))


async def ollama(request: Request) -> Response:
    server: ModelServer = request.app.state.server
    body, _ = await server.fault(request)
    text, _ = answer_to(body["messages"], tools=False)
    head = {"model": body["model"], "created_at": "2026-01-01T00:00:00Z"}

    async def lines() -> AsyncIterator[str]:
        async for word in server.words(text, None):
            yield json.dumps({**head, "message": {"role": "assistant", "content": word}, "done": False}) + "\n"
        yield json.dumps({**head, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}) + "\n"

    if body.get("stream"):
        return StreamingResponse(lines(), media_type="application/x-ndjson")
    return JSONResponse({**head, "message": {"role": "assistant", "content": text}, "done": True})


ROUTES = [
    Route("/v1/chat/completions", openai, methods=["POST"]),
    Route("/v1/messages", anthropic, methods=["POST"]),
    Route("/dashscope/services/aigc/{kind}/generation", dashscope, methods=["POST"]),
    Route("/dashscope/services/aigc/text-generation/generation", dashscope, methods=["POST"]),
    Route("/{version:str}/models/{call:path}", gemini, methods=["POST"]),
    Route("/api/chat", ollama, methods=["POST"]),
]


@contextlib.asynccontextmanager
async def model_server() -> AsyncGenerator[ModelServer]:
    """Serve for the length of the block, on the test's own loop."""
    application = Starlette(routes=ROUTES)
    application.state.server = told = ModelServer()
    async with listening(application) as told.url:
        yield told


@contextlib.asynccontextmanager
async def listening(application: Any) -> AsyncGenerator[str]:
    """Serve an ASGI application on a free port of loopback; give its address."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="critical", timeout_graceful_shutdown=1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        with anyio.fail_after(20):
            while not server.started:
                await anyio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
