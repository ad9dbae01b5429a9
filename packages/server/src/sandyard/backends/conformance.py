"""The proof that ships with the port: what every back end does, as cases that take any implementation.

    for name, case in CASES.items():
        await run_case(case, Subject(backend, directory, command=..., gaps=...))

A case whose `needs` is among the subject's gaps is not asked of it. Cases assert; each is bounded in time and leaves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from sandyard.backends.conformance_subject import AGENT, Subject
from sandyard.domain.errors import BackendError, BackendUnavailable, NotSupported, PortClosed, SandboxGone, StartFailed
from sandyard.domain.specs import AGENT_PORT, GUEST_PORT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandyard.domain.specs import Exited, SandboxSpec

__all__ = ["AGENT", "CASES", "Case", "Subject", "run_case"]

CASE_SECONDS = 60.0
MANY = 20

RAISES = "raise RuntimeError('no such model')\n"
EXITS = "import sys\nsys.exit(7)\n"
SILENT = """
import asyncio, time
async def app(scope, receive, send):
    await asyncio.sleep(3600)
if __name__ == "__main__":
    time.sleep(3600)
"""


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
    async with asyncio.timeout(spec.ready_timeout / 2):
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


@_case()
async def without_a_command_it_lives_until_it_is_stopped(subject: Subject) -> None:
    await subject.backend.start(replace(subject.spec(), command=()))
    assert await subject.living() == {"c0": False}
    await subject.backend.freeze("c0")
    assert await subject.living() == {"c0": True}
    await subject.backend.thaw("c0")
    await subject.backend.stop("c0")
    assert await subject.living() == {}


@_case(needs="guest")
async def without_a_command_its_guest_listens(subject: Subject) -> None:
    await subject.backend.start(replace(subject.spec(), command=()))
    (await subject.backend.connect("c0", GUEST_PORT)).close()


@_case(needs="files")
async def a_saved_sandbox_is_started_again(subject: Subject) -> None:
    await subject.start("c1")
    state = subject.directory / "state"
    saved = await subject.backend.save("c1", state)
    assert not saved.memory
    assert await subject.ask("c1") == "hello"
    await subject.backend.stop("c1")
    await subject.backend.start(replace(subject.spec("c2"), restore=state))
    assert await subject.ask("c2") == "hello"
    await _refused(subject.backend.save("c2", state), BackendUnavailable)
    await _refused(subject.backend.save("c1", subject.directory / "other"), SandboxGone)


@_case()
async def what_cannot_be_saved_or_measured_is_refused(subject: Subject) -> None:
    await subject.start("c1")
    if "files" in subject.gaps:
        await _refused(subject.backend.save("c1", subject.directory / "state"), NotSupported)
        await _refused(subject.backend.start(replace(subject.spec("c2"), restore=subject.directory)), NotSupported)
    else:
        await _refused(subject.backend.start(replace(subject.spec("c2"), restore=subject.directory)), BackendUnavailable)
    if "usage" in subject.gaps:
        await _refused(subject.backend.usage("c1"), NotSupported)


@_case(needs="usage")
async def usage_is_within_its_limits(subject: Subject) -> None:
    spec = subject.spec()
    await subject.backend.start(spec)
    usage = await subject.backend.usage("c0")
    assert usage.cpu_seconds > 0
    assert 0 < usage.memory_bytes <= usage.memory_limit_bytes == spec.limits.memory_bytes
    assert 0 <= usage.disk_bytes <= usage.disk_limit_bytes <= spec.limits.disk_bytes
    await _refused(subject.backend.usage("unknown"), SandboxGone)


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
