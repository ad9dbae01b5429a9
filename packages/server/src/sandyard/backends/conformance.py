"""The proof that ships with the port: what every back end does, as cases that take any implementation.

    for name, case in CASES.items():
        await run_case(case, Subject(backend, directory, command=..., gaps=...))

A case whose `needs` is among the subject's gaps is not asked of it. Cases assert; each is bounded in time and leaves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sandyard.backends import conformance_agent
from sandyard.domain.errors import BackendError, PortClosed, SandboxGone, StartFailed
from sandyard.domain.specs import AGENT_PORT, Exited, Mount, SandboxSpec
from sandyard.ports import Backend, Dialer, Meters, Snapshots, Supervision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CASE_SECONDS = 60.0
MANY = 20

AGENT = Path(conformance_agent.__file__).read_text(encoding="utf-8")
RAISES = "raise RuntimeError('no such model')\n"
EXITS = "import sys\nsys.exit(7)\n"
SILENT = """
import asyncio, time
async def app(scope, receive, send):
    await asyncio.sleep(3600)
if __name__ == "__main__":
    time.sleep(3600)
"""


class Whole(Backend, Supervision, Dialer, Snapshots, Meters, Protocol):
    """What a back end's object is: all five ports."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A back end under proof.

    `command` makes the argument vector that runs a script in `/app`; `directory` is an empty one for agents; `gaps` are names
    out of: "output" (what agents print is not kept), "own_environment" (`spec.env` is not applied).
    """

    backend: Whole
    directory: Path
    command: Callable[[str], tuple[str, ...]]
    gaps: frozenset[str] = frozenset()

    def spec(
        self, sandbox_id: str = "c0", source: str = AGENT, *, ready_port: int | None = AGENT_PORT, ready_timeout: float = 30.0
    ) -> SandboxSpec:
        """Return the spec of a sandbox that runs `source`."""
        app = self.directory / sandbox_id
        app.mkdir()
        (app / "agent.py").write_text(source, encoding="utf-8")
        return SandboxSpec(
            sandbox_id=sandbox_id,
            command=self.command("agent.py"),
            cwd="/app",
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PORT": str(AGENT_PORT), "FLAVOUR": sandbox_id},
            mounts=(Mount(app, "/app", "overlay"),),
            ready_port=ready_port,
            ready_timeout=ready_timeout,
            ends_at=time.time() + 600,
        )

    async def start(self, sandbox_id: str = "c0") -> str:
        """Start the suite's agent."""
        started = await self.backend.start(self.spec(sandbox_id))
        assert started.sandbox_id == sandbox_id
        return sandbox_id

    async def ask(self, sandbox_id: str, path: str = "/") -> str:
        """Return what the agent answers."""
        head, _, body = (await self.exchange(sandbox_id, path)).partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0] + b" ", head
        return body.decode()

    async def exchange(self, sandbox_id: str, path: str) -> bytes:
        """Send a request; return every byte until the connection ends, also where it ends too early."""
        connection = await self.backend.connect(sandbox_id, AGENT_PORT)
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nhost: agent\r\n\r\n".encode())
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def give(self, sandbox_id: str, seconds: float) -> None:
        """Let a sandbox end `seconds` from now."""
        await self.backend.extend(sandbox_id, time.time() + seconds)

    async def living(self) -> dict[str, bool]:
        """Return the ids that live, each with whether it is frozen."""
        return {found.sandbox_id: found.frozen for found in await self.backend.list()}


@dataclass(frozen=True, slots=True)
class Case:
    """One property; `needs` names the gap that excuses from it."""

    run: Callable[[Subject], Awaitable[None]]
    needs: str | None = None


CASES: dict[str, Case] = {}


def _case(needs: str | None = None) -> Callable[[Callable[[Subject], Awaitable[None]]], Callable[[Subject], Awaitable[None]]]:
    def enter(run: Callable[[Subject], Awaitable[None]]) -> Callable[[Subject], Awaitable[None]]:
        CASES[run.__name__] = Case(run, needs)
        return run

    return enter


async def run_case(case: Case, subject: Subject) -> None:
    """Run a case within its time, then stop what it left running."""
    try:
        async with asyncio.timeout(CASE_SECONDS):
            await case.run(subject)
    finally:
        for found in await subject.backend.list():
            await subject.backend.stop(found.sandbox_id)


@_case()
async def starts_and_answers(subject: Subject) -> None:
    sandbox = await subject.start()
    assert await subject.ask(sandbox) == "hello"
    assert await subject.living() == {sandbox: False}


@_case()
async def verbs_may_be_repeated(subject: Subject) -> None:
    sandbox = await subject.start()
    for _ in range(2):
        await subject.backend.freeze(sandbox)
        assert await subject.living() == {sandbox: True}
    for _ in range(2):
        await subject.backend.thaw(sandbox)
        assert await subject.living() == {sandbox: False}
    assert await subject.ask(sandbox) == "hello"
    for _ in range(2):
        await subject.backend.stop(sandbox)
        assert await subject.living() == {}
    await subject.backend.stop("unknown")


@_case()
async def freezing_keeps_memory(subject: Subject) -> None:
    sandbox = await subject.start()
    for expected in ("1", "2", "3"):
        assert await subject.ask(sandbox, "/count") == expected
        await subject.backend.freeze(sandbox)
        await subject.backend.thaw(sandbox)


@_case()
async def a_frozen_sandbox_answers_after_it_was_thawed(subject: Subject) -> None:
    sandbox = await subject.start()
    await subject.backend.freeze(sandbox)
    asking = asyncio.create_task(subject.ask(sandbox))
    done, _ = await asyncio.wait({asking}, timeout=0.3)
    assert not done
    await subject.backend.thaw(sandbox)
    assert await asking == "hello"


@_case()
async def a_frozen_sandbox_can_be_stopped(subject: Subject) -> None:
    sandbox = await subject.start()
    await subject.backend.freeze(sandbox)
    await subject.backend.stop(sandbox)
    assert await subject.living() == {}


@_case()
async def a_port_where_nothing_listens_is_closed(subject: Subject) -> None:
    sandbox = await subject.start()
    await _refused(subject.backend.connect(sandbox, 9), PortClosed)
    assert await subject.ask(sandbox) == "hello"


@_case()
async def what_does_not_live_is_gone(subject: Subject) -> None:
    stopped = await subject.start()
    await subject.backend.stop(stopped)
    for sandbox in (stopped, "unknown"):
        await _refused(subject.backend.freeze(sandbox), SandboxGone)
        await _refused(subject.backend.thaw(sandbox), SandboxGone)
        await _refused(subject.backend.connect(sandbox, AGENT_PORT), SandboxGone)
        await subject.backend.extend(sandbox, time.time() + 60)
        assert await subject.backend.output(sandbox, 5) == (b"", 5)


@_case()
async def an_agent_that_raises_is_a_failed_start_with_its_last_lines(subject: Subject) -> None:
    exited = await _failed_start(subject, subject.spec(source=RAISES))
    assert exited.exit_code == 1
    assert "no such model" in exited.output


@_case()
async def an_agent_that_exits_is_a_failed_start_with_its_code(subject: Subject) -> None:
    exited = await _failed_start(subject, subject.spec(source=EXITS))
    assert exited.exit_code == 7
    assert exited.reason


@_case()
async def an_agent_that_never_listens_is_a_failed_start(subject: Subject) -> None:
    exited = await _failed_start(subject, subject.spec(source=SILENT, ready_timeout=1.0))
    assert exited.reason


@_case()
async def a_failed_start_is_no_exit(subject: Subject) -> None:
    await _failed_start(subject, subject.spec("c1", RAISES))
    second = await subject.start("c2")
    exited = await _exit_after(subject, subject.exchange(second, "/exit/0"))
    assert exited.sandbox_id == second


@_case()
async def an_exit_is_told_once_and_for_all(subject: Subject) -> None:
    sandbox = await subject.start()
    exited = await _exit_after(subject, subject.exchange(sandbox, "/exit/3"))
    assert (exited.sandbox_id, exited.exit_code) == (sandbox, 3)
    assert await subject.living() == {}
    assert await subject.backend.ended(sandbox) == exited
    await _refused(subject.backend.connect(sandbox, AGENT_PORT), SandboxGone)
    await subject.backend.stop(sandbox)


@_case()
async def a_stop_is_no_exit(subject: Subject) -> None:
    first, second = await subject.start("c1"), await subject.start("c2")
    await subject.backend.stop(first)
    exited = await _exit_after(subject, subject.exchange(second, "/exit/0"))
    assert exited.sandbox_id == second


@_case()
async def a_command_without_a_port_ends_with_its_code(subject: Subject) -> None:
    spec = subject.spec(source="print('built')\n", ready_port=None)
    exited = await _exit_after(subject, subject.backend.start(spec))
    assert (exited.sandbox_id, exited.exit_code) == (spec.sandbox_id, 0)


@_case()
async def a_stop_cuts_connections(subject: Subject) -> None:
    sandbox = await subject.start()
    hanging = asyncio.create_task(subject.exchange(sandbox, "/hang"))
    assert await subject.ask(sandbox) == "hello"
    await subject.backend.stop(sandbox)
    assert await hanging == b""


@_case()
async def a_sandbox_ends_at_its_time(subject: Subject) -> None:
    sandbox = await subject.start()
    exited = await _exit_after(subject, subject.give(sandbox, 0.2))
    assert exited.sandbox_id == sandbox
    assert exited.reason
    assert await subject.living() == {}


@_case()
async def a_sandbox_lives_on_when_its_time_is_extended(subject: Subject) -> None:
    first, second = await subject.start("c1"), await subject.start("c2")
    await subject.give(first, 1)
    await subject.give(first, 60)
    exited = await _exit_after(subject, subject.give(second, 1.2))
    assert exited.sandbox_id == second
    assert await subject.ask(first) == "hello"


@_case()
async def many_starts_at_once_all_succeed(subject: Subject) -> None:
    ids = [f"c{number}" for number in range(MANY)]
    await asyncio.gather(*map(subject.start, ids))
    assert set(await subject.living()) == set(ids)
    assert await asyncio.gather(*map(subject.ask, ids)) == ["hello"] * MANY
    await asyncio.gather(*map(subject.backend.stop, ids))
    assert await subject.living() == {}


@_case()
async def verbs_that_race_on_one_sandbox_leave_it_whole_or_gone(subject: Subject) -> None:
    sandbox = await subject.start()
    verbs = (subject.backend.freeze, subject.backend.thaw)
    await asyncio.gather(*(verb(sandbox) for _ in range(5) for verb in verbs))
    await subject.backend.thaw(sandbox)
    assert await subject.ask(sandbox) == "hello"
    racing = [verb(sandbox) for _ in range(3) for verb in (*verbs, subject.backend.stop)]
    for result in await asyncio.gather(*racing, return_exceptions=True):
        assert result is None or isinstance(result, SandboxGone), result
    assert await subject.living() == {}


@_case()
async def a_stop_ends_a_start_under_way(subject: Subject) -> None:
    spec = subject.spec(source=SILENT)
    starting = asyncio.create_task(subject.backend.start(spec))
    await asyncio.wait({starting}, timeout=0.2)
    await subject.backend.stop(spec.sandbox_id)
    with contextlib.suppress(BackendError):
        await starting
        raise AssertionError("the start of a stopped sandbox succeeded")
    assert await subject.living() == {}


@_case(needs="output")
async def output_is_read_from_an_offset(subject: Subject) -> None:
    sandbox = await subject.start()
    await subject.ask(sandbox, "/print/first")
    offset = await _printed(subject, sandbox, 0, b"first\n")
    await subject.ask(sandbox, "/print/second")
    end = await _printed(subject, sandbox, offset, b"second\n")
    assert await subject.backend.output(sandbox, end) == (b"", end)


@_case(needs="own_environment")
async def each_sandbox_has_its_own_environment(subject: Subject) -> None:
    for sandbox in (await subject.start("c1"), await subject.start("c2")):
        assert await subject.ask(sandbox, "/env/FLAVOUR") == sandbox


async def _refused(verb: Awaitable[object], expected: type[BackendError]) -> None:
    try:
        await verb
    except expected:
        return
    raise AssertionError(f"no {expected.__name__} was raised")


async def _failed_start(subject: Subject, spec: SandboxSpec) -> Exited:
    """Return what `StartFailed` says, having checked that nothing of the sandbox is left."""
    exited = None
    try:
        await subject.backend.start(spec)
    except StartFailed as failure:
        exited = failure.exited
    assert exited is not None, "the start succeeded"
    assert exited.sandbox_id == spec.sandbox_id
    assert await subject.living() == {}
    return exited


async def _exit_after(subject: Subject, cause: Awaitable[object]) -> Exited:
    """Return the first exit that is told once `cause` is done."""
    exits = subject.backend.exits()
    await cause
    return await anext(exits)


async def _printed(subject: Subject, sandbox: str, offset: int, expected: bytes) -> int:
    """Wait until exactly `expected` can be read from `offset` (it travels through a pipe); return the offset after it."""
    for attempt in count():
        data, end = await subject.backend.output(sandbox, offset)
        if data == expected:
            return end
        assert expected.startswith(data), data
        assert attempt < 500, f"only {data!r} was kept"
        await asyncio.sleep(0.01)
    raise AssertionError
