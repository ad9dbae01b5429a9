"""The HTTP side: `/execute`, `/contexts`, `/health` (sandbox protocol §5). Who may ask is the ingress' matter."""

# pyright: reportUnknownMemberType=false
# tornado's `write` and `finish` take a dict of anything, too.

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

from sandkit.interpreter.contexts import DEFAULT, Contexts, Unusable
from sandkit.interpreter.kernels import KernelEnded, new_context
from sandkit.interpreter.languages import UnknownLanguage
from sandkit.interpreter.runs import Run

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Mapping
    from types import TracebackType

    from sandkit.interpreter.contexts import Context
    from sandkit.interpreter.launching import Launched

BODY_BYTES = 100 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Refused(Exception):  # noqa: N818 (an answer)
    """The request is answered with `status` and the message as text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(RequestHandler):
    """What all share: `contexts`, JSON bodies, errors as text."""

    def initialize(self, contexts: Contexts) -> None:
        self.contexts = contexts

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Bodies come whole."""

    def prepare(self) -> None:
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.set_nodelay(True)  # tornado does so at the end of a response only

    def body(self) -> Mapping[str, Any]:
        try:
            found: Any = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError) as problem:
            raise _Refused(400, f"The body is not JSON: {problem}") from None
        if not isinstance(found, dict):
            raise _Refused(400, "The body is not a JSON object")
        return cast("dict[str, Any]", found)

    def found(self, identifier: str) -> Context:
        context = self.contexts.get(identifier)
        if context is None:
            raise _Refused(404, f"Context {identifier[:100]} not found")
        return context

    def answer(self, what: object) -> None:
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps(what))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        problem = (kwargs.get("exc_info") or (None, None, None))[1]
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(str(problem) if isinstance(problem, _Refused) else f"{status_code} {self._reason}")

    def log_exception(self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if not isinstance(value, _Refused):
            super().log_exception(typ, value, tb)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        problem = (kwargs.get("exc_info") or (None, None, None))[1]
        super().send_error(problem.status if isinstance(problem, _Refused) else status_code, **kwargs)


class _Health(_Handler):
    def get(self) -> None:
        self.answer("OK")


class _Execute(_Handler):
    _run: Run | None = None

    async def post(self) -> None:
        body = self.body()
        code = body.get("code")
        if not isinstance(code, str):
            raise _Refused(400, "`code` has to be a string")
        env = _variables(body.get("env_vars"))
        context = self._context(_text(body, "context_id"), _text(body, "language"))
        self._run = run = Run()
        work = asyncio.ensure_future(context.run(code, env, run))
        work.add_done_callback(lambda done: None if done.cancelled() or done.exception() is None else run.abandon())
        try:
            await self._stream(run)
        finally:
            run.abandon()
            await work

    def on_connection_close(self) -> None:
        if self._run is not None:
            self._run.abandon()

    def _context(self, identifier: str, language: str) -> Context:
        if identifier and language:
            raise _Refused(400, "Only one of context_id or language can be provided")
        if identifier:
            return self.found(identifier)
        try:
            return self.contexts.of_language(language)
        except UnknownLanguage as problem:
            raise _Refused(400, str(problem)) from None

    async def _stream(self, run: Run) -> None:
        self.set_header("Content-Type", "application/x-ndjson")
        try:
            async for line in run.lines():
                self.write(line)
                await self.flush()
            if not run.abandoned.is_set():
                await self.finish()
        except StreamClosedError:
            return


class _Contexts(_Handler):
    def get(self) -> None:
        self.answer([context.described() for context in self.contexts.created()])

    async def post(self) -> None:
        body = self.body()
        try:
            context = await self.contexts.create(_text(body, "language"), _text(body, "cwd"))
        except (UnknownLanguage, Unusable) as problem:
            raise _Refused(400, str(problem)) from None
        self.answer(context.described())


class _Context(_Handler):
    async def delete(self, identifier: str) -> None:
        context = self.found(identifier)
        if context.id == DEFAULT:
            raise _Refused(400, "The default context cannot be removed; restart it")
        await self.contexts.remove(context)
        self.answer(None)


class _Restart(_Handler):
    async def post(self, identifier: str) -> None:
        try:
            await self.found(identifier).restart()
        except KernelEnded as end:
            raise _Refused(500, f"The context could not be restarted: {end}") from None
        self.answer(None)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise _Refused(400, f"`{name}` has to be a string")
    if value is not None and "\0" in value:
        raise _Refused(400, f"`{name}` must not contain a zero byte")
    return value or ""


def _variables(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Refused(400, "`env_vars` has to be an object of strings")
    variables = cast("dict[str, Any]", value)
    for name, text in variables.items():
        if not _NAME.fullmatch(name) or not isinstance(text, str) or "\0" in text:
            raise _Refused(400, f"`env_vars`: {name[:100]!r} is no variable with a text")
    return variables


def _log_nothing(_: RequestHandler) -> None:
    """Requests are the ingress' to log."""


async def serve(listener: socket.socket, launched: Launched) -> None:
    """Answer on `listener` for ever; `launched` is the default context's kernel, which is on its way."""
    contexts = Contexts(str(Path.home()), new_context(), launched)
    routes: list[tuple[str, type[RequestHandler]]] = [
        ("/health", _Health),
        ("/execute", _Execute),
        ("/contexts/?", _Contexts),
        ("/contexts/([^/]+)", _Context),
        ("/contexts/([^/]+)/restart", _Restart),
    ]
    application = Application([(path, handler, {"contexts": contexts}) for path, handler in routes], log_function=_log_nothing)
    server = HTTPServer(application, max_body_size=BODY_BYTES, max_buffer_size=BODY_BYTES)
    server.add_socket(listener)
    try:
        await contexts.of_language(None).open()
    except KernelEnded as end:
        print(f"The first kernel did not start: {end}", flush=True)  # noqa: T201 (the start command's output; the next caller tries again)
    await asyncio.Event().wait()
