"""The start command of a template and the command that tells when it is ready, through the guest (sandbox-protocol §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from sandyard.services.guest import Guest, GuestError, Process, shell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.domain.templates import System
    from sandyard.ports import Dialer

READY_SECONDS = 50.0
"""How long a create waits for the ready command: less than the 60 s after which E2B's clients give a request up."""
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 0.5
_TAIL_BYTES = 4096


class NotReady(Exception):  # noqa: N818 (an answer)
    """The start command failed, or the ready command never succeeded; `output` is what they printed last."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


async def start(
    dialer: Dialer, sandbox_id: str, system: System, *, seconds: float = READY_SECONDS, env: Mapping[str, str] | None = None
) -> None:
    """Run the start command of a fresh sandbox; return when the ready command succeeds. It runs on after that.

    `env` is what its commands find beside what the sandbox was started with.

    Raises:
        NotReady: the start command failed, or `seconds` have gone by.
        GuestError: the sandbox ended, or its guest refused.
    """
    if not system.start_cmd and not system.ready_cmd:
        return
    attempt = _Attempt(Guest(dialer, sandbox_id), system, env or {})
    try:
        with anyio.fail_after(seconds):
            await attempt.run()
    except TimeoutError:
        raise attempt.failed(f"The ready command did not succeed within {seconds:.0f} seconds") from None
    if attempt.failure is not None:
        raise attempt.failure


class _Attempt:
    """One start, with what its commands printed."""

    def __init__(self, guest: Guest, system: System, env: Mapping[str, str]) -> None:
        self._guest = guest
        self._env = env
        self._system = system
        self._printed = bytearray()
        self._last_check = bytearray()
        self.failure: NotReady | GuestError | None = None

    async def run(self) -> None:
        system = self._system
        if not system.start_cmd:
            await self._until_ready()
            return
        command = shell(system.start_cmd, env=self._env, cwd=system.workdir or None, user=system.user)
        async with self._guest.started(command) as process, anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, process, tasks.cancel_scope)
            try:
                await self._until_ready()
            except GuestError as error:
                self.failure = error
            tasks.cancel_scope.cancel()

    def failed(self, sentence: str) -> NotReady:
        """Return the failure with what was printed."""
        printed = (bytes(self._printed) + bytes(self._last_check)).decode(errors="replace").strip()
        return NotReady(f"{sentence}; the last lines were: {printed[-1000:]}" if printed else f"{sentence}; nothing was printed", printed)

    async def _watch(self, process: Process, scope: anyio.CancelScope) -> None:
        """Keep what the start command prints. One that ends well has put itself into the background."""
        try:
            code = await process.wait(self._keep)
        except GuestError as error:
            self.failure = error
        else:
            if code == 0:
                return
            self.failure = self.failed(f"The start command exited with code {code}")
        scope.cancel()

    async def _keep(self, data: bytes) -> None:
        self._printed += data
        del self._printed[:-_TAIL_BYTES]

    async def _until_ready(self) -> None:
        """Ask the ready command again, in growing pauses, until it succeeds: it can only be asked."""
        system = self._system
        pause = _FIRST_PAUSE
        while system.ready_cmd:
            self._last_check.clear()
            command = shell(system.ready_cmd, env=self._env, cwd=system.workdir or None, user=system.user)
            if await self._guest.run(command, self._keep_check) == 0:
                return
            await anyio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _keep_check(self, data: bytes) -> None:
        self._last_check += data
        del self._last_check[:-_TAIL_BYTES]
