"""The proof that ships with the port: what every `SessionStore` does, as cases that take an open, empty store."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from agentapp.errors import SessionConflict
from agentapp.sessions.ports import Key, Stored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from agentapp.sessions.ports import SessionStore

    Case = Callable[[SessionStore], Awaitable[None]]

CASE_SECONDS = 30.0
CASES: dict[str, Case] = {}
KEY = Key("app", "tenant", "user", "session")


def _case(run: Case) -> Case:
    CASES[run.__name__] = run
    return run


async def run_case(name: str, store: SessionStore) -> None:
    """Run a case within its time."""
    async with asyncio.timeout(CASE_SECONDS):
        await CASES[name](store)


async def _save(
    store: SessionStore, modules: Mapping[str, bytes], *, key: Key = KEY, expected: int | None = None, lives: float | None = None
) -> int:
    now = time.time()
    return await store.save(key, modules, expected=expected, expires_at=None if lives is None else now + lives, now=now)


@_case
async def what_is_saved_is_loaded(store: SessionStore) -> None:
    assert await store.load(KEY, time.time()) is None
    assert await _save(store, {"memory": b'{"a":1}', "empty": b""}) == 1
    assert await store.load(KEY, time.time()) == Stored(1, {"memory": b'{"a":1}', "empty": b""})


@_case
async def modules_that_are_not_named_stay(store: SessionStore) -> None:
    await _save(store, {"memory": b"1", "toolkit": b"2"})
    assert await _save(store, {"memory": b"3"}) == 2
    assert await store.load(KEY, time.time()) == Stored(2, {"memory": b"3", "toolkit": b"2"})
    assert await _save(store, {}) == 3


@_case
async def a_save_on_another_version_changes_nothing(store: SessionStore) -> None:
    assert await _save(store, {"memory": b"1"}, expected=0) == 1
    assert await _save(store, {"memory": b"2"}, expected=1) == 2
    for expected in (0, 1, 3):
        try:
            await _save(store, {"memory": b"lost"}, expected=expected)
        except SessionConflict:
            continue
        raise AssertionError(f"a save on version {expected} was taken")
    assert await store.load(KEY, time.time()) == Stored(2, {"memory": b"2"})


@_case
async def of_many_saves_on_one_version_one_is_taken(store: SessionStore) -> None:
    await _save(store, {"memory": b"0"})
    saves = [_save(store, {"memory": str(number).encode()}, expected=1) for number in range(20)]
    outcomes = await asyncio.gather(*saves, return_exceptions=True)
    assert outcomes.count(2) == 1
    assert sum(isinstance(outcome, SessionConflict) for outcome in outcomes) == 19


@_case
async def sessions_do_not_meet(store: SessionStore) -> None:
    keys = [
        Key("app", "a", "b_c", "s"),
        Key("app", "a_b", "c", "s"),
        Key("app", "a:b", "c", "s"),
        Key("app", "a", "b:c", "s"),
        Key("app", "", "a", "s"),
        Key("app", "a", "", "s"),
        Key("other", "a", "", "s"),
        Key("app", "a", "", "S"),
    ]
    for number, key in enumerate(keys):
        await _save(store, {"memory": str(number).encode()}, key=key)
    for number, key in enumerate(keys):
        assert await store.load(key, time.time()) == Stored(1, {"memory": str(number).encode()})


@_case
async def what_has_expired_is_not_there(store: SessionStore) -> None:
    await _save(store, {"memory": b"1"}, lives=0.05)
    await asyncio.sleep(0.1)
    assert await store.load(KEY, time.time()) is None
    assert await _save(store, {"toolkit": b"2"}, expected=0, lives=60) == 1
    assert await store.load(KEY, time.time()) == Stored(1, {"toolkit": b"2"})
    await _save(store, {"toolkit": b"3"})
    assert await store.load(KEY, time.time() + 3600) == Stored(2, {"toolkit": b"3"}), "a save without a time has none"


@_case
async def what_is_deleted_is_gone(store: SessionStore) -> None:
    await _save(store, {"memory": b"1"})
    await store.delete(KEY)
    await store.delete(KEY)
    assert await store.load(KEY, time.time()) is None
    assert await _save(store, {"memory": b"2"}, expected=0) == 1


@_case
async def one_at_a_time_has_the_lease(store: SessionStore) -> None:
    now = time.time()
    assert await store.lease(KEY, "first", now + 60, now)
    assert not await store.lease(KEY, "second", now + 60, now)
    assert await store.lease(KEY, "first", now + 90, now), "it is renewed"
    await store.release(KEY, "second")
    assert not await store.lease(KEY, "second", now + 60, now)
    await store.release(KEY, "first")
    assert await store.lease(KEY, "second", now + 60, now)
    assert await store.lease(KEY._replace(session="another"), "first", now + 60, now)


@_case
async def a_lease_ends_by_its_time(store: SessionStore) -> None:
    now = time.time()
    assert await store.lease(KEY, "killed", now + 0.1, now)
    await asyncio.sleep(0.2)
    assert await store.lease(KEY, "next", time.time() + 60, time.time())


@_case
async def large_state_is_kept_whole(store: SessionStore) -> None:
    body = bytes(range(256)) * 4096
    await _save(store, {"memory": body, "other": body})
    stored = await store.load(KEY, time.time())
    assert stored is not None
    assert stored.modules == {"memory": body, "other": body}
