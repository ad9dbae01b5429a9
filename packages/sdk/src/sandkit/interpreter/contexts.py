"""Contexts: each has one kernel, whose variables live from one execution to the next, and executions take turns."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandkit.interpreter.kernels import Kernel, KernelEnded
from sandkit.interpreter.languages import PYTHON, Language, find
from sandkit.interpreter.launching import Launched, launch
from sandkit.interpreter.outputs import END, error

if TYPE_CHECKING:
    from collections.abc import Mapping

    import zmq.asyncio

    from sandkit.interpreter.runs import Run

DEFAULT = "default"
"""The id of the context of callers who name neither a context nor a language."""
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 5.0
"""Between two interrupts, in seconds: code may take its time to clean up."""
_ENDED = "UnexpectedEndOfExecution"
"""What E2B calls an execution whose kernel went away."""


class Unusable(Exception):  # noqa: N818 (an answer)
    """A context cannot be made as it was asked for; the message says why."""


class Context:
    """One kernel at a time, started when it is first needed, and again when it has ended."""

    def __init__(
        self, identifier: str, language: Language, cwd: str, channels: zmq.asyncio.Context, launched: Launched | None = None
    ) -> None:
        self.id, self.language, self.cwd = identifier, language, cwd
        self._channels = channels
        self._launched = launched
        self._kernel: Kernel | None = None
        self._turn = asyncio.Lock()
        self._lost = ""
        self._removed = False

    def described(self) -> Mapping[str, str]:
        """Return it as callers see it."""
        return {"id": self.id, "language": self.language.name, "cwd": self.cwd}

    async def open(self) -> None:
        """Have a kernel that is ready.

        Raises:
            KernelEnded: it could not be started.
        """
        async with self._turn:
            await self._ready()

    async def run(self, code: str, env: Mapping[str, str], run: Run) -> None:
        """Run code when its turn has come, until it is done or its caller has left; then the kernel is idle."""
        async with self._turn:
            if run.abandoned.is_set():
                return
            try:
                kernel = await self._ready()
                await self._tell_lost(run)
                await kernel.execute(self.language.assign(env), run.take, own=True) if env else None
                await self._carry_out(kernel, code, run)
            except KernelEnded as end:
                await run.take(error(_ENDED, f"{_sentence(end)} Its variables are lost; the next execution has a new kernel."))
                await self._discard()
                self._lost = str(end) if run.abandoned.is_set() else ""  # nobody was told
                env = {}
            await run.take(END)
            await self._tidy(env)

    async def restart(self) -> None:
        """Have a new kernel; what runs is ended.

        Raises:
            KernelEnded: it could not be started.
        """
        self._kill("the context was restarted")
        async with self._turn:
            await self._discard()
            await self._ready()

    async def remove(self) -> None:
        """End the kernel for good."""
        self._removed = True
        self._kill("the context was removed")
        async with self._turn:
            await self._discard()

    async def _ready(self) -> Kernel:
        if self._removed:
            raise KernelEnded("the context was removed")
        if self._kernel is not None and self._kernel.ended:
            lost = self._kernel.reason
            await self._discard()
            self._lost = lost
        if self._kernel is None:
            launched, self._launched = self._launched, None
            try:
                launched = launched or launch(self.language, self.cwd)
            except OSError as failure:
                raise KernelEnded(f"the {self.language.name} kernel could not be started: {failure}") from failure
            self._kernel = await Kernel.start(launched, self.language, self._channels)
        return self._kernel

    async def _carry_out(self, kernel: Kernel, code: str, run: Run) -> None:
        execution = asyncio.ensure_future(kernel.execute(code, run.take))
        left = asyncio.ensure_future(run.abandoned.wait())
        try:
            await asyncio.wait({execution, left}, return_when=asyncio.FIRST_COMPLETED)
            if not execution.done():
                await self._interrupt(kernel, execution)
            await execution
        finally:
            left.cancel()

    async def _interrupt(self, kernel: Kernel, execution: asyncio.Future[None]) -> None:
        """Interrupt what nobody waits for any more, again where it goes on."""
        pause, waited = _FIRST_PAUSE, 0.0
        stubborn = self.language.stubborn_seconds
        while not execution.done():
            if stubborn is not None and waited >= stubborn:
                kernel.kill(f"the {self.language.name} kernel did not let itself be interrupted and was ended")
            kernel.interrupt()
            await asyncio.wait({execution}, timeout=pause)
            waited += pause
            pause = min(2 * pause, _LAST_PAUSE)

    async def _tidy(self, env: Mapping[str, str]) -> None:
        """After an execution: the environment as before, and a kernel for the next one."""
        try:
            kernel = await self._ready()
            if env:
                await kernel.execute(self.language.assign({name: os.environ.get(name) for name in env}), _ignore, own=True)
        except KernelEnded:
            return  # the next execution tries again, and says so

    async def _tell_lost(self, run: Run) -> None:
        if self._lost:
            text = f"{_sentence(self._lost)} This is a new one, without its variables.\n"
            await run.take({"type": "stderr", "text": text, "timestamp": time.time_ns()})
            self._lost = ""

    def _kill(self, why: str) -> None:
        if self._kernel is not None:
            self._kernel.kill(why)

    async def _discard(self) -> None:
        """Let go of the kernel, of whose end nobody is to be told any more."""
        kernel, self._kernel, self._lost = self._kernel, None, ""
        if kernel is not None:
            await kernel.stop()


class Contexts:
    """All contexts of the sandbox."""

    def __init__(self, home: str, channels: zmq.asyncio.Context, launched: Launched) -> None:
        self._home = home
        self._channels = channels
        self._default = Context(DEFAULT, PYTHON, home, channels, launched)
        self._of_language = {PYTHON.name: self._default}
        self._created: dict[str, Context] = {}

    def created(self) -> list[Context]:
        """Return those that callers made."""
        return list(self._created.values())

    def get(self, identifier: str) -> Context | None:
        """Return one by its id."""
        defaults = {context.id: context for context in self._of_language.values()}
        return self._created.get(identifier) or defaults.get(identifier)

    def of_language(self, name: str | None) -> Context:
        """Return the one for callers who name no context.

        Raises:
            UnknownLanguage: as `find`.
        """
        language = find(name)
        if language.name not in self._of_language:
            self._of_language[language.name] = Context(str(uuid.uuid4()), language, self._home, self._channels)
        return self._of_language[language.name]

    async def create(self, language: str | None, cwd: str | None) -> Context:
        """Make one and have its kernel started.

        Raises:
            UnknownLanguage: as `find`.
            Unusable: the directory is not there, or the kernel did not start.
        """
        found = find(language)
        directory = str(Path(self._home, cwd or ""))
        if not os.path.isdir(directory):  # noqa: ASYNC240, PTH112 (one look at the sandbox's own disk)
            raise Unusable(f"The directory {directory!r} is not there")
        context = Context(str(uuid.uuid4()), found, directory, self._channels)
        try:
            await context.open()
        except KernelEnded as end:
            raise Unusable(_sentence(end)) from end
        self._created[context.id] = context
        return context

    async def remove(self, context: Context) -> None:
        """End a context; one that has a language of its own comes back when it is asked for by that."""
        self._created.pop(context.id, None)
        if self._of_language.get(context.language.name) is context:
            del self._of_language[context.language.name]
        await context.remove()


def _sentence(what: object) -> str:
    text = str(what)
    return f"{text[:1].upper()}{text[1:]}."


async def _ignore(_: Mapping[str, Any]) -> None:
    """Nobody reads it."""
