"""Instances, turns and the ways to write an app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from agentapps.serving import APPS, CONFIG, message, project, served

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from anyio.streams.memory import MemoryObjectSendStream

    from agentapps.models import ModelServer
    from agentapps.serving import Served

pytestmark = pytest.mark.anyio


async def answered(app: Served, session: str, send: MemoryObjectSendStream[httpx.Response]) -> None:
    """Ask who is there, and tell what was answered."""
    await send.send(await app.post(message("who", session)))


@pytest.mark.promise("agentapp.kinds-of-call")
@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("Coroutine", ["coroutine hi"]),
        ("Nothing", []),
        ("Plain", ["plain hi"]),
        ("Generator", ["generator ", "hi"]),
        ("Snapshots", ["one ", "two ", "three"]),
    ],
)
async def test_an_app_may_be_written_in_each_way(kind: str, texts: list[str], tmp_path: Path) -> None:
    async with served(project(tmp_path, APPS / "plain.py", "models: {}"), KIND=kind) as app:
        *chunks, done = await app.chunks(message("hi"))
        assert [chunk["content"] for chunk in chunks] == texts
        assert done["metadata"] == {"done": True}


@pytest.mark.promise("agentapp.context")
async def test_the_context_tells_what_surrounds_a_message(kitchen: Served) -> None:
    assert await kitchen.ask("context", "about", tenant_id="t1", user_id="u1") == ("about t1 u1 {'tenant_id': 't1', 'user_id': 'u1'} True")


@pytest.mark.promise("agentapp.instance-per-session", "agentapp.sessions-tenants")
async def test_each_session_of_each_tenant_has_an_instance_of_its_own(kitchen: Served) -> None:
    answers = [
        await kitchen.ask("who", "one"),
        await kitchen.ask("who", "two"),
        await kitchen.ask("who", "one", tenant_id="t"),
        await kitchen.ask("who", "one"),
    ]
    numbers = [answer.split()[1] for answer in answers]
    assert len(set(numbers)) == 3
    assert numbers[0] == numbers[3]
    assert [answer.split()[3] for answer in answers] == ["1", "1", "1", "2"]


@pytest.mark.promise("agentapp.one-by-one")
async def test_a_session_s_messages_wait_for_each_other_and_others_do_not(kitchen: Served) -> None:
    async with kitchen.streaming(message("wait 0.5", "queue")) as stream:
        await anext(stream)
        async with anyio.create_task_group() as tasks:
            send, receive = anyio.create_memory_object_stream[str](1)

            async def ask_after() -> None:
                await send.send(await kitchen.ask("waits", "queue"))

            tasks.start_soon(ask_after)
            assert await kitchen.ask("waits", "not-the-queue") == "0 over"
            with send, receive:
                assert await receive.receive() == "1 over", "it was answered when the one before it was over"


@pytest.mark.promise("agentapp.instance-per-session", "agentapp.life")
async def test_the_least_recently_used_instance_makes_room(models: ModelServer, tmp_path: Path) -> None:
    config = CONFIG + "server: {max_instances: 2, max_waiting: 1}\n"
    async with served(project(tmp_path, APPS / "kitchen.py", config), MODEL_URL=models.openai) as app:
        assert await app.ask("who", "a") == "instance 1 message 1", "the one that was made at the start"
        assert await app.ask("who", "b") == "instance 2 message 1"
        assert await app.ask("who", "a") == "instance 1 message 2"
        assert await app.ask("who", "c") == "instance 3 message 1"
        assert await app.ask("who", "a") == "instance 1 message 3"
        assert await app.ask("who", "b") == "instance 4 message 1"
        async with app.streaming(message("wait 30", "a")) as first, app.streaming(message("wait 30", "b")) as second:
            await anext(first)
            await anext(second)
            full = await app.post(message("who", "c"))
            assert (full.status_code, full.json()["error"]["code"], full.headers["retry-after"]) == (503, "OVERLOADED", "1")
            send, receive = anyio.create_memory_object_stream["httpx.Response"](2)
            async with send, receive, anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(answered, app, "a", send)
                refused = await receive.receive()
                assert refused.status_code == 503
                assert "wait for this session" in refused.json()["error"]["message"]
                tasks.cancel_scope.cancel()
        app.ends()
        assert await app.process.wait() == 0
    gone = (tmp_path / "shutdowns").read_text().split()
    assert gone[:2] == ["2", "3"]
    assert sorted(gone) == ["1", "2", "3", "4"]


@pytest.mark.promise("agentapp.instance-per-session")
async def test_isolation_shared_is_one_instance_for_all(models: ModelServer, tmp_path: Path) -> None:
    config = CONFIG + "server: {isolation: shared}\n"
    async with served(project(tmp_path, APPS / "kitchen.py", config), MODEL_URL=models.openai) as app:
        assert [await app.ask("who", session) for session in "abc"] == [f"instance 1 message {n}" for n in (1, 2, 3)]


@pytest.mark.promise("agentapp.finishes")
async def test_an_app_may_finish_though_the_client_has_left(models: ModelServer, tmp_path: Path) -> None:
    config = CONFIG + "server: {on_disconnect: finish}\n"
    async with served(project(tmp_path, APPS / "kitchen.py", config), MODEL_URL=models.openai) as app:
        async with app.streaming(message("wait 0.3")) as stream:
            await anext(stream)
        with anyio.fail_after(20):
            while not (tmp_path / "waited").exists():
                await anyio.sleep(0.02)
        assert await app.ask("who") == "instance 1 message 2", "the instance goes on being the session's"


@pytest.mark.promise("agentapp.life")
async def test_an_app_whose_start_fails_ends_with_the_reason(tmp_path: Path) -> None:
    source = "from agentscope.runtime import AgentApp\n\nclass App(AgentApp):\n    async def on_startup(self):\n        raise OSError('no such disk')\n"
    with pytest.raises(BaseException) as found:  # noqa: PT011 (a group of it)
        async with served(project(tmp_path, source, "models: {}")):
            pass
    assert found.group_contains(AssertionError, match="OSError: no such disk")
