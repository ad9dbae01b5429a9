"""The proof for the gateway's rows: what every store does with prefabs, their versions, jobs and events."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from sandyard.domain.calls import CallLog, CallResult, Job, JobEvent, JobState, Webhook
from sandyard.domain.errors import RowConflict
from sandyard.domain.prefabs import Prefab, PrefabState, PrefabVersion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandyard.ports import Store

RACERS = 50
CASES: dict[str, Callable[[Store], Awaitable[None]]] = {}


def _case(run: Callable[[Store], Awaitable[None]]) -> Callable[[Store], Awaitable[None]]:
    CASES[run.__name__] = run
    return run


def a_version(number: int = 0, **fields: object) -> PrefabVersion:
    """Return a row; later numbers are newer."""
    version = PrefabVersion(
        id=f"p{number}",
        prefab_id="pack-one",
        version=f"1.{number}.0",
        state=PrefabState.PENDING,
        digest="d" * 64,
        manifest={"id": "pack-one", "functions": [{"name": "f"}]},
        warnings=("a", "b"),
        created_at=1000.0 + number,
    )
    return replace(version, **fields)  # pyright: ignore[reportArgumentType] (a test's fields)


def a_job(number: int = 0, **fields: object) -> Job:
    """Return a row; later numbers are newer."""
    job = Job(
        id=f"j{number}",
        owner="ann",
        user="ann",
        state=JobState.RUNNING,
        calls=[{"prefab_id": "pack-one", "version": "1.0.0", "function_name": "f"}],
        created_at=1000.0 + number,
    )
    return replace(job, **fields)  # pyright: ignore[reportArgumentType] (a test's fields)


async def _claim(store: Store, owner: str = "ann", **fields: object) -> Prefab:
    prefab = Prefab(id="pack-one", owner=owner, visibility="private", created_at=1000.0)
    return await store.prefabs.claim(replace(prefab, **fields))  # pyright: ignore[reportArgumentType] (a test's fields)


@_case
async def a_prefab_belongs_to_who_came_first(store: Store) -> None:
    claims = await asyncio.gather(*[_claim(store, f"owner-{number}") for number in range(RACERS)])
    assert len({prefab.owner for prefab in claims}) == 1
    assert await store.prefabs.get("pack-one") == claims[0]
    assert await store.prefabs.get("pack-two") is None


@_case
async def only_public_prefabs_are_seen_by_others(store: Store) -> None:
    mine = await _claim(store)
    assert await store.prefabs.visible("bob") == []
    assert await store.prefabs.visible("ann") == [mine]
    await store.prefabs.show("pack-one", "public")
    assert await store.prefabs.visible("bob") == [replace(mine, visibility="public")]


@_case
async def a_version_is_there_once_unless_it_failed(store: Store) -> None:
    await _claim(store)
    await store.prefabs.add_version(a_version(state=PrefabState.FAILED))
    await store.prefabs.add_version(a_version(1, version="1.0.0"))
    try:
        await store.prefabs.add_version(a_version(2, version="1.0.0"))
    except RowConflict:
        pass
    else:
        raise AssertionError("a version was entered twice")
    assert await store.prefabs.version("p1") == a_version(1, version="1.0.0")
    assert [row.id for row in await store.prefabs.versions(prefab_id="pack-one")] == ["p1", "p0"]
    assert [row.id for row in await store.prefabs.versions(states=[PrefabState.FAILED])] == ["p0"]


@_case
async def a_version_changes_only_from_the_expected_state(store: Store) -> None:
    await _claim(store)
    await store.prefabs.add_version(a_version())
    taken = [store.prefabs.change_version("p0", [PrefabState.PENDING], state=PrefabState.BUILDING) for _ in range(RACERS)]
    assert sum(row is not None for row in await asyncio.gather(*taken)) == 1
    done = await store.prefabs.change_version("p0", [PrefabState.BUILDING], state=PrefabState.DEPLOYED, finished_at=2000.0)
    assert done == a_version(state=PrefabState.DEPLOYED, finished_at=2000.0)


@_case
async def a_job_is_kept_as_it_is(store: Store) -> None:
    await store.jobs.add(a_job())
    assert await store.jobs.running() == [a_job()]
    results = [CallResult(output={"x": 1}).wire(), CallResult(error={"error_code": "TIMEOUT", "message": "m"}).wire()]
    ended = await store.jobs.change("j0", [JobState.RUNNING], state=JobState.PARTIAL_SUCCESS, results=results, finished_at=2000.0)
    assert ended == a_job(state=JobState.PARTIAL_SUCCESS, results=results, finished_at=2000.0)
    assert await store.jobs.change("j0", [JobState.RUNNING], state=JobState.FAILED) is None
    assert await store.jobs.get("j0") == ended
    assert await store.jobs.running() == []


@_case
async def an_idempotency_key_is_one_users(store: Store) -> None:
    await store.jobs.add(a_job(idempotency_key="k"))
    await store.jobs.add(a_job(1, user="bob", idempotency_key="k"))
    await store.jobs.add(a_job(2))
    try:
        await store.jobs.add(a_job(3, idempotency_key="k"))
    except RowConflict:
        pass
    else:
        raise AssertionError("a key was used twice")
    found = await store.jobs.by_idempotency_key("ann", "bob", "k")
    assert found is not None
    assert found.id == "j1"
    assert await store.jobs.by_idempotency_key("ann", "ann", "other") is None


@_case
async def events_are_read_on_and_forgotten_with_their_job(store: Store) -> None:
    await store.jobs.add(a_job(state=JobState.COMPLETED, finished_at=1500.0))
    await store.jobs.add(a_job(1))
    events = [JobEvent(number=number, call=0, data={"type": "content", "data": number}) for number in range(1, 6)]
    await store.jobs.add_events("j0", events)
    assert await store.jobs.events("j0", 0, 100) == events
    assert await store.jobs.events("j0", 2, 2) == events[2:4]
    assert await store.jobs.forget(2000.0) == 1
    assert await store.jobs.get("j0") is None
    assert await store.jobs.events("j0", 0, 100) == []
    assert await store.jobs.get("j1") is not None


@_case
async def what_calls_print_is_numbered_and_cut_to_the_newest(store: Store) -> None:
    log = CallLog(
        call="j0.0",
        job_id="j0",
        owner="ann",
        user="ann",
        prefab_id="pack-one",
        version="1.0.0",
        function="f",
        at=1.0,
        succeeded=True,
        text="a",
    )
    for number in range(5):
        await store.call_logs.add(replace(log, call=f"j{number}.0", job_id=f"j{number}", at=float(number)), 3)
    await store.call_logs.add(replace(log, owner="bob", user="bob", at=9.0), 3)
    newest = await store.call_logs.of_prefab("ann", "ann", "pack-one", after=None, limit=2)
    assert [(log.job_id, log.succeeded) for log in newest] == [("j3", True), ("j4", True)]
    assert [log.job_id for log in await store.call_logs.of_prefab("ann", "ann", "pack-one", after=0, limit=2)] == ["j2", "j3"]
    assert await store.call_logs.of_prefab("ann", "ann", "pack-one", after=newest[-1].number, limit=2) == []
    assert await store.call_logs.of_prefab("ann", "eve", "pack-one", after=0, limit=9) == []
    assert [log.text for log in await store.call_logs.of_job("ann", "ann", "j4")] == ["a"]
    assert await store.call_logs.of_job("ann", "ann", "j0") == []
    assert await store.call_logs.forget(4.0) == 2
    assert [log.job_id for log in await store.call_logs.of_prefab("ann", "ann", "pack-one", after=None, limit=9)] == ["j4"]


@_case
async def webhooks_are_due_when_their_job_has_ended_and_go_with_it(store: Store) -> None:
    for number in range(3):
        await store.jobs.add(a_job(number))
        await store.webhooks.add(Webhook(job_id=f"j{number}", url="https://x", attempts=0, due_at=float(number)))
    assert await store.webhooks.due(9.0, 9) == []
    assert await store.webhooks.next_due() is None
    for number in range(2):
        await store.jobs.change(f"j{number}", [JobState.RUNNING], state=JobState.FAILED, finished_at=1000.0 * number)
    assert [row.job_id for row in await store.webhooks.due(0.5, 9)] == ["j0"]
    assert [row.job_id for row in await store.webhooks.due(9.0, 1)] == ["j0"]
    await store.webhooks.put_off(Webhook(job_id="j0", url="https://x", attempts=1, due_at=20.0))
    assert await store.webhooks.next_due() == 1.0
    await store.webhooks.remove("j1")
    assert [(row.job_id, row.attempts) for row in await store.webhooks.due(20.0, 9)] == [("j0", 1)]
    await store.jobs.forget(500.0)
    assert await store.webhooks.next_due() is None
