"""The steps of one build, one after the other, inside its sandbox."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from sandyard import trees
from sandyard.services.guest import Command, Guest, GuestError, shell
from sandyard.services.packages import Bounds, extract
from sandyard.services.spooling import chunks
from sandyard.services.templates import FILES
from sandyard.work import copying
from sandyard.work.failures import BuildFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sandyard.domain.templates import Step, System
    from sandyard.services.context import Context
    from sandyard.work.watching import BuildLog

_ARCHIVE, _STAGE = "/tmp/.sandyard-copy.tar", "/tmp/.sandyard-copy"  # noqa: S108 (the sandbox's own)
_USER = "user"
"""The one user that every sandbox has."""
_LAST_LINES = 10
_LINE_BYTES = 8000
_NO_ROOT = (
    "the sandboxes of this server have no root, since an ordinary user started it (or one who may not map user ids): "
    "install into the user's home instead, as by `pip install --user`, or start the server as root"
)
_WANTED_ROOT = re.compile(r"\broot\b|superuser|permission denied|operation not permitted|sudo: ", re.IGNORECASE)
"""What programs say that need it."""


@dataclass(frozen=True, slots=True)
class Stepping:
    """`work` is a directory on the host for what COPY unpacks; `files` are host directories by hash, the others are blobs.

    `as_root`: there is a root inside, who does what the steps' users may not.
    """

    context: Context
    guest: Guest
    log: BuildLog
    work: Path
    files: Mapping[str, Path]
    as_root: bool

    async def run(self, steps: Sequence[Step], system: System, *, template_id: str, done: int) -> System:
        """Carry out the steps after the first `done`; return the system with its variables, user and directory.

        Raises:
            BuildFailed: naming the step, its exit code and its last lines.
        """
        for number, step in enumerate(steps[done:], start=done + 1):
            place = f"step {number} of {len(steps)} ({_short(step)})"
            self.log.stage = place
            await self.log.say(f"[{number}/{len(steps)}] {step}")
            try:
                system = await self._step(step, system, template_id)
            except BuildFailed as failure:
                raise BuildFailed(f"S{place[1:]} failed: {failure}", step=str(number)) from failure
            except GuestError as failure:
                if not await self._lives():
                    raise
                raise BuildFailed(f"S{place[1:]} failed: {failure}", step=str(number)) from failure
        return system

    async def furnish(self) -> None:
        """Give an image a /bin/bash, by which E2B's clients run commands: its sh has to do where it has none."""
        await self._script("[ -e /bin/bash ] || ln -s sh /bin/bash || true")

    async def _lives(self) -> bool:
        try:
            return await self._quietly(_sh("exit 0", user=_USER)) == 0
        except GuestError:
            return False

    async def _step(self, step: Step, system: System, template_id: str) -> System:
        match step.type:
            case "ENV":
                return replace(system, env={**system.env, **dict(zip(step.args[::2], step.args[1::2], strict=True))})
            case "USER":
                return replace(system, user=step.args[0])
            case "WORKDIR":
                return await self._workdir(step.args[0], system)
            case "RUN":
                command, user = (*step.args, "")[:2]
                await self._run(command, system, user or system.user)
            case "COPY":
                await self._copy(step, system, template_id)
        return system

    async def _run(self, command: str, system: System, user: str) -> None:
        if not self.as_root and user != _USER:
            raise BuildFailed(f"it is to run as the user {user!r}, but {_NO_ROOT}")
        output = _Output(self.log)
        code = await self.guest.run(shell(command, env=system.env, cwd=system.workdir or None, user=user), output.take)
        await output.end()
        if code != 0:
            last = "\n".join(output.last) or "nothing was printed"
            hint = f"\nThis may need root, but {_NO_ROOT}" if not self.as_root and _WANTED_ROOT.search(last) else ""
            raise BuildFailed(f"exit code {code}; the last lines were:\n{last}{hint}")

    async def _workdir(self, path: str, system: System) -> System:
        workdir = self._absolute(path, system)
        made = 'if [ ! -d "$1" ]; then mkdir -p "$1" && { [ -z "$2" ] || chown "$2" "$1"; }; fi'
        owner = _with_group(system.user) if self.as_root else ""
        await self._script(made, workdir, owner)
        return replace(system, workdir=workdir)

    async def _copy(self, step: Step, system: System, template_id: str) -> None:
        source, destination, owner, mode = [*step.args, "", ""][:4]
        target = self._absolute(destination, system) + ("/" if destination.endswith("/") else "")
        found = await self._unpacked(step.files_hash, source, template_id)
        test = _sh('test -d "$1"', target, user=self._hand)
        is_directory = await self._quietly(test) == 0
        archive = self.work / "copy.tar"
        bits = int(mode, 8) if mode else None
        directory = await anyio.to_thread.run_sync(lambda: copying.pack(found, target, archive, into_directory=is_directory, mode=bits))
        await self.guest.upload(_ARCHIVE, chunks(archive), archive.stat().st_size, user=self._hand)
        await self._script(copying.SCRIPT, _ARCHIVE, _STAGE, _with_group(owner or system.user) if self.as_root else "", directory)

    async def _unpacked(self, files_hash: str, source: str, template_id: str) -> Sequence[Path]:
        """Unpack an upload on the host; return what `source` means of it."""
        await anyio.to_thread.run_sync(trees.remove, self.work)
        await anyio.Path(self.work).mkdir()
        if files_hash in self.files:
            return await anyio.to_thread.run_sync(copying.matches, self.files[files_hash], source)
        archive, tree = self.work / "upload", self.work / "tree"
        async with await anyio.open_file(archive, "wb") as file:
            async for chunk in self.context.blobs.get(f"{FILES}/{template_id}/{files_hash}"):
                await file.write(chunk)
        settings = self.context.settings
        bounds = Bounds(unpacked_bytes=settings.unpacked_limit, files=settings.package_files, modes=True)
        await anyio.to_thread.run_sync(extract, archive, tree, bounds)
        archive.unlink()
        return await anyio.to_thread.run_sync(copying.matches, tree, source)

    async def _script(self, script: str, *args: str) -> None:
        """Run a script of ours, as root where there is one."""
        output = _Output(self.log)
        code = await self.guest.run(_sh(script, *args, user=self._hand), output.take)
        await output.end()
        if code != 0:
            raise BuildFailed("\n".join(output.last) or f"exit code {code}")

    async def _quietly(self, command: Command) -> int:
        async def ignore(_: bytes) -> None:
            """Nobody reads it."""

        return await self.guest.run(command, ignore)

    @property
    def _hand(self) -> str:
        """As whom the platform works inside."""
        return "root" if self.as_root else _USER

    @staticmethod
    def _absolute(path: str, system: System) -> str:
        home = "/root" if system.user == "root" else f"/home/{system.user}"
        return posixpath.normpath(posixpath.join(system.workdir or home, path))


class _Output:
    """Cuts what a command prints into lines for the log, and keeps the last ones."""

    def __init__(self, log: BuildLog) -> None:
        self._log = log
        self._rest = b""
        self.last: list[str] = []

    async def take(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE_BYTES:
            whole.append(self._rest)
            self._rest = b""
        await self._say(whole)

    async def end(self) -> None:
        if self._rest:
            await self._say([self._rest])

    async def _say(self, lines: Sequence[bytes]) -> None:
        texts = [line.decode(errors="replace").rstrip("\r") for line in lines]
        self.last = [*self.last, *texts][-_LAST_LINES:]
        await self._log.say(*texts)


def _sh(script: str, *args: str, user: str) -> Command:
    """Return a script of ours; it runs in a directory that every image has."""
    return Command(program="/bin/sh", args=("-c", script, "sh", *args), cwd="/", user=user)


def _with_group(owner: str) -> str:
    """Return `user:`, which is the user with its own group for `chown`, unless a group is named."""
    return owner if ":" in owner else f"{owner}:"


def _short(step: Step) -> str:
    text = str(step).partition("\n")[0]
    return text if len(text) <= 200 else f"{text[:200]}..."
