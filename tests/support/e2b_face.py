"""Both faces of the public e2b client behind one: what is asked of it, in its own words, and a record of which methods were."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
import e2b
from e2b.sandbox_async.commands.command import Commands as AsyncCommands
from e2b.sandbox_async.commands.pty import Pty as AsyncPty
from e2b.sandbox_async.filesystem.filesystem import Filesystem as AsyncFilesystem
from e2b.sandbox_async.git import Git as AsyncGit
from e2b.sandbox_sync.commands.command import Commands
from e2b.sandbox_sync.commands.command_handle import CommandHandle
from e2b.sandbox_sync.commands.pty import Pty
from e2b.sandbox_sync.filesystem.filesystem import Filesystem

ASYNC: dict[str, type] = {
    "Sandbox": e2b.AsyncSandbox,
    "commands": AsyncCommands,
    "files": AsyncFilesystem,
    "pty": AsyncPty,
    "git": AsyncGit,
    "CommandHandle": e2b.AsyncCommandHandle,
    "WatchHandle": e2b.AsyncWatchHandle,
    "Template": e2b.AsyncTemplate,
    "Volume": e2b.AsyncVolume,
    "Secret": e2b.AsyncSecret,
}
SYNC: dict[str, type] = {
    "Sandbox": e2b.Sandbox,
    "commands": Commands,
    "files": Filesystem,
    "pty": Pty,
    "git": e2b.Git,
    "CommandHandle": CommandHandle,
    "WatchHandle": e2b.WatchHandle,
    "Template": e2b.Template,
    "Volume": e2b.Volume,
    "Secret": e2b.Secret,
}
_PARTS = ("commands", "files", "pty", "git")


def methods(classes: dict[str, type]) -> set[str]:
    """Return every public method of a face as `Class.method`."""
    return {
        f"{name}.{method}"
        for name, kind in classes.items()
        for method in dir(kind)
        if not method.startswith("_") and callable(getattr(kind, method))
    }


@dataclass(slots=True)
class Face:
    """One of `ASYNC` and `SYNC`, told where the platform is by `known`; `asked` are the methods that were called and did not raise."""

    classes: dict[str, type]
    known: dict[str, Any]
    asked: set[str] = field(default_factory=set[str])

    def kind(self, name: str) -> Asked:
        """Return a class of the face."""
        return Asked(self, name, self.classes[name])

    def of(self, name: str, thing: Any) -> Asked:
        """Return an object of the face, whose class is called `name`."""
        return Asked(self, name, thing)


class Asked:
    """A class or an object of the client whose methods are all coroutines, whichever face it is of."""

    def __init__(self, face: Face, name: str, thing: Any) -> None:
        self.thing = thing
        self._face = face
        self._name = name

    def __getattr__(self, method: str) -> Any:
        if method in _PARTS:
            return Asked(self._face, method, getattr(self.thing, method))
        found = getattr(self.thing, method)
        if not callable(found):
            return found

        async def ask(*arguments: Any, **named: Any) -> Any:
            given = named | self._face.known if inspect.isclass(self.thing) and _takes_options(found) else named
            if self._face.classes is SYNC:
                answer = await anyio.to_thread.run_sync(lambda: found(*arguments, **given))
            else:
                answer = found(*arguments, **given)
                answer = await answer if inspect.isawaitable(answer) else answer
            self._face.asked.add(f"{self._name}.{method}")
            return answer

        return ask


def _takes_options(found: Any) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(found).parameters.values())
