"""One kernel's process and the channels to it. It runs one thing at a time; who comes next is `contexts`' matter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient

from sandkit.interpreter.outputs import item

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sandkit.interpreter.languages import Language
    from sandkit.interpreter.launching import Launched

START_SECONDS = 60.0
_LAST_WORDS_SECONDS = 0.1
"""How long what a kernel printed before it ended may still be on its way."""
_DEAF_SECONDS = 0.1
"""How long the first message of a kernel that answers may take, before it is asked again: it was sent before we were heard."""
_MARK_SECONDS = 5.0
"""How long nothing may come before a mark is given up."""
_RECEIVE = 16
"""How many messages may wait here; more of them wait in the kernel, which is held back then."""
_RECONNECT_MS = 5


class KernelEnded(Exception):  # noqa: N818 (an answer)
    """The kernel's process has ended; the message says how."""


@dataclass
class _Execution:
    """What runs: the ids of its requests, and whether only what is printed late is waited for, up to `mark`."""

    ids: set[str]
    take: Callable[[Mapping[str, Any]], Awaitable[None]]
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    mark: str = ""
    marked: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    taking: bool = False

    async def hear(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take what the kernel publishes about it."""
        told = item(kind, content)
        marked = told is not None and self._is_marked(told)
        if told is not None and marked:
            told = {**told, "text": told["text"].replace(f"{self.mark}\n", "")}
        if told is not None and not (self.mark and _is_of_mark(told)):
            self.taking = True
            await self.take(told)
            self.taking = False
        self.news.set()
        if kind == "status" and content["execution_state"] == "idle":
            self.idle.set()
        if marked:
            self.marked.set()

    def _is_marked(self, told: Mapping[str, Any]) -> bool:
        return bool(self.mark) and told["type"] == "stdout" and self.mark in told["text"]


def new_context() -> zmq.asyncio.Context:
    """Return what the channels are made of: one for the whole program."""
    context = zmq.asyncio.Context()
    context.setsockopt(zmq.RCVHWM, _RECEIVE)
    context.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    context.setsockopt(zmq.LINGER, 0)
    return context


class Kernel:
    """A kernel from its start to its end. Make it with `start`; `stop` it."""

    def __init__(self, launched: Launched, language: Language, context: zmq.asyncio.Context) -> None:
        self._language = language
        self._launched = launched
        self._process = launched.process
        self._client = AsyncKernelClient(context=context)
        self._client.load_connection_file(str(launched.connection))
        self._execution: _Execution | None = None
        self._answered, self._heard = asyncio.Event(), asyncio.Event()
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(self._process.pid)
        self._tasks: list[asyncio.Task[None]] = []
        self._why = ""

    @classmethod
    async def start(cls, launched: Launched, language: Language, context: zmq.asyncio.Context) -> Self:
        """Return the kernel when it can be given code.

        Raises:
            KernelEnded: it ended, or did not answer within `START_SECONDS`.
        """
        kernel = cls(launched, language, context)
        try:
            await kernel._open()
        except BaseException:
            await kernel.stop()
            raise
        return kernel

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def reason(self) -> str:
        """How it ended."""
        code = self._process.returncode
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by signal {-code} ({signal.strsignal(-code)})"
        if code == -signal.SIGKILL:
            how += ", probably since the sandbox's memory ran out"
        return self._why or f"the {self._language.name} kernel {how}"

    async def execute(self, code: str, take: Callable[[Mapping[str, Any]], Awaitable[None]], *, own: bool = False) -> None:
        """Run code, pass on what comes of it, return when the kernel is idle again. `own` code is counted and remembered by nobody.

        Raises:
            KernelEnded: before it was done.
        """
        if self.ended:
            raise KernelEnded(self.reason)
        identifier = self._client.execute(code, silent=own, store_history=not own, allow_stdin=False)
        self._execution = execution = _Execution({identifier}, take)
        try:
            await self._or_end(execution.idle)
            if self._language.mark is not None and not own:
                await self._until_marked(execution, self._language.mark)
        except KernelEnded:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_SECONDS):
                    await execution.idle.wait()
            raise
        finally:
            self._execution = None

    def interrupt(self) -> None:
        """Ask it to give up what it does."""
        if self.ended:
            return
        if self._language.interrupt == "message":
            session = self._client.session
            session.send(self._client.control_channel.socket, session.msg("interrupt_request", {}))
        else:
            self._signal(signal.SIGINT)

    def kill(self, why: str = "") -> None:
        """End it and what it has started; `why` is what those hear who wait for it."""
        self._why = self._why or why
        self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End it, and let go of all that belongs to it."""
        self.kill()
        await asyncio.to_thread(self._process.wait)
        self._mourn()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client.stop_channels()
        self._launched.clean()

    async def _open(self) -> None:
        asyncio.get_running_loop().add_reader(self._pidfd, self._mourn)
        self._client.start_channels(stdin=False, hb=False)
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._collect_answers())]
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._greet()
        except TimeoutError:
            raise KernelEnded(f"the {self._language.name} kernel did not answer within {START_SECONDS:.0f} seconds") from None
        if self._language.warm:
            await self.execute(self._language.warm, _ignore, own=True)

    async def _greet(self) -> None:
        """Ask what kernel it is, until it answers and is heard, too."""
        while not self._heard.is_set():
            self._answered.clear()
            self._client.kernel_info()
            await self._or_end(self._answered)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DEAF_SECONDS):
                    await self._or_end(self._heard)

    async def _until_marked(self, execution: _Execution, mark: Callable[[str], str]) -> None:
        """Wait for what was printed, but is not told yet: for a mark that is printed after it."""
        execution.mark = uuid.uuid4().hex
        execution.ids.add(self._client.execute(mark(execution.mark), silent=True, store_history=False, allow_stdin=False))
        while not execution.marked.is_set():
            execution.news.clear()
            try:
                async with asyncio.timeout(_MARK_SECONDS):
                    await self._or_end(execution.news)
            except TimeoutError:
                if not execution.taking:
                    return  # it has nothing more to tell

    async def _or_end(self, event: asyncio.Event) -> None:
        """Wait for something that only a living kernel does."""
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._ended.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not event.is_set():
            raise KernelEnded(self.reason)

    async def _hear(self) -> None:
        """Read what the kernel publishes, always: one that nobody listens to would stand still at some time."""
        while True:
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # what is no Jupyter message is nothing
                message: dict[str, Any] = await self._client.get_iopub_msg(timeout=None)
                self._heard.set()
                execution = self._execution
                if execution is not None and message["parent_header"].get("msg_id") in execution.ids:
                    await execution.hear(message["msg_type"], message["content"])

    async def _collect_answers(self) -> None:
        while True:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                await self._client.get_shell_msg(timeout=None)
                self._answered.set()

    def _mourn(self) -> None:
        """Note the end of the process."""
        if self._pidfd < 0:
            return
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)  # what it had started; its id is its own until somebody has asked how it ended
        self._process.poll()
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._ended.set()

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended:
            self._signal_group(number)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _is_of_mark(told: Mapping[str, Any]) -> bool:
    return told["type"] == "number_of_executions" or told.get("text") == ""


async def _ignore(_: Mapping[str, Any]) -> None:
    """Nobody reads it."""
