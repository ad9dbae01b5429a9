"""Session state: it survives, it does not mix, and nobody overwrites it unawares."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from agentapps.serving import APPS, message, project, served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import httpx

    from agentapps.serving import Served

pytestmark = pytest.mark.anyio

SESSION = "models: {}\nsession: {lease: 2, lease_wait: 1, max_bytes: 100000}\n"


@pytest.fixture(scope="session")
async def counter(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Served]:
    directory = project(tmp_path_factory.mktemp("counter"), APPS / "counter.py", SESSION)
    async with served(directory) as app:
        yield app


async def loaded(directory: Path) -> None:
    with anyio.fail_after(20):
        while not (directory / "loaded").exists():
            await anyio.sleep(0.01)


@pytest.mark.promise("agentapp.sessions-survive")
async def test_sessions_survive_a_restart_and_a_kill(tmp_path: Path) -> None:
    directory = project(tmp_path, APPS / "counter.py", SESSION)
    for expected in ("1", "2", "3"):
        async with served(directory) as app:
            assert await app.ask("add one") == expected
            if expected == "1":
                app.ends()
                assert await app.process.wait() == 0
            else:
                app.process.send_signal(signal.SIGKILL)
                await app.process.wait()


@pytest.mark.promise("agentapp.sessions-missing")
async def test_a_session_that_is_not_there_is_none_or_raises(counter: Served) -> None:
    assert await counter.ask("get", "unknown") == "None"
    assert await counter.ask("must", "unknown") == "SessionNotFound True"
    reply = await counter.post(message("require", "unknown"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "SESSION_NOT_FOUND")
    await counter.ask("add x", "known")
    assert await counter.ask("get", "known") == "['memory'] 1"
    assert await counter.ask("forget", "known") == "forgotten"
    assert await counter.ask("get", "known") == "None"


@pytest.mark.promise("agentapp.sessions")
async def test_state_is_bounded_and_names_are_checked(counter: Served) -> None:
    large = await counter.post(message("big 100001", "large"))
    assert (large.status_code, large.json()["error"]["code"]) == (413, "SESSION_TOO_LARGE")
    assert await counter.ask("get", "large") == "None"
    for verb in ("other ../../etc", "partial a/b", "other ", "other " + "x" * 129):
        hostile = await counter.post(message(verb, "hostile"))
        assert (hostile.status_code, hostile.json()["error"]["code"]) == (400, "INVALID_REQUEST"), verb


@pytest.mark.promise("agentapp.sessions-tenants")
async def test_tenants_share_no_session(counter: Served) -> None:
    assert await counter.ask("add x", "shared-id", tenant_id="a") == "1"
    assert await counter.ask("add x", "shared-id", tenant_id="b") == "1"
    assert await counter.ask("add x", "shared-id", tenant_id="a") == "2"
    assert await counter.ask("get", "shared-id") == "None"


@pytest.mark.promise("agentapp.sessions-swap")
async def test_a_save_on_what_somebody_else_has_changed_is_refused(counter: Served) -> None:
    reply = await counter.post(message("behind", "swapped"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "SESSION_CONFLICT")
    assert await counter.ask("forget", "swapped") == "forgotten"


@pytest.mark.promise("agentapp.sessions-killed", "agentapp.sessions-lease")
async def test_a_kill_between_load_and_save_leaves_the_old_state_and_a_short_lease(tmp_path: Path) -> None:
    directory = project(tmp_path, APPS / "counter.py", SESSION)
    async with served(directory) as app:
        assert await app.ask("add one") == "1"
        async with app.streaming(message("slow 30")) as stream:
            await anext(stream)
            app.process.send_signal(signal.SIGKILL)
            await app.process.wait()
    async with served(directory) as app:
        began = time.monotonic()
        with anyio.fail_after(10):
            while (reply := await app.post(message("get"), accept="application/json")).status_code == 409:
                assert reply.json()["error"]["code"] == "SESSION_BUSY"
        assert reply.json()["content"] == "['memory'] 1"
        assert time.monotonic() - began < 5


@pytest.mark.promise("agentapp.sessions-lease")
async def test_of_two_processes_with_one_session_one_works_at_a_time(tmp_path: Path) -> None:
    directory = project(tmp_path, APPS / "counter.py", SESSION)
    async with served(directory) as one, served(directory) as two:
        assert await one.ask("add x") == "1"
        assert await two.ask("add x") == "2"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.ask, "slow 0.4")
            await loaded(directory)
            assert await two.ask("get") == "['memory'] 3", "it waited for the other to save"
        (directory / "loaded").unlink()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.ask, "slow 5")  # longer than a lease, which is renewed
            await loaded(directory)
            busy = await two.post(message("add x"))
            assert (busy.status_code, busy.json()["error"]["code"], busy.headers["retry-after"]) == (409, "SESSION_BUSY", "1")
            await anyio.sleep(2.5)
            assert (await two.post(message("add x"))).status_code == 409, "the lease is renewed while the other works"
        assert await two.ask("get") == "['memory'] 4"


@pytest.mark.promise("agentapp.sessions-many")
async def test_a_thousand_sessions_keep_their_own_state(tmp_path: Path) -> None:
    directory = project(tmp_path, APPS / "counter.py", SESSION + "server: {max_instances: 100}\n")
    limiter = anyio.CapacityLimiter(20)

    async def add(client: httpx.AsyncClient, session: int, expected: str) -> None:
        async with limiter:
            body = message(f"add {session}", f"session-{session}")
            reply = await client.post("/invoke", json=body, headers={"accept": "application/json"})
            assert reply.json()["content"] == expected, reply.text

    async with served(directory) as app, app.client as client:  # one client: making one costs more than a session does
        for expected in ("1", "2"):
            async with anyio.create_task_group() as tasks:
                for session in range(1000):
                    tasks.start_soon(add, client, session, expected)
