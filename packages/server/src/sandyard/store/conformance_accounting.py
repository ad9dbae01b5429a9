"""The proof for the rows of files, quotas, secrets and the audit, as cases that take an empty store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandyard.domain.accounting import AuditEntry, KeptSecret, Quota, QuotaUsedUp, Reservation
from sandyard.domain.files import File, FileKind, FileState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandyard.ports import Store

CASES: dict[str, Callable[[Store], Awaitable[None]]] = {}
_RACERS = 100


def _case(run: Callable[[Store], Awaitable[None]]) -> Callable[[Store], Awaitable[None]]:
    CASES[run.__name__] = run
    return run


def a_quota(**fields: object) -> Quota:
    values: dict[str, object] = {"id": "q", "owner": "ann", "kind": "calls", "amount": 10, "period": 100.0}
    return Quota(**(values | fields))  # pyright: ignore[reportArgumentType] (a test's fields)


def a_reservation(call: str, **fields: object) -> Reservation:
    values: dict[str, object] = {"owner": "ann", "user": "ann", "key": "k1", "prefab_id": "p", "version": "1.0.0", "function": "f"}
    return Reservation(call=call, expires_at=1000.0, **(values | fields))  # pyright: ignore[reportArgumentType] (a test's fields)


def a_file(key: str, **fields: object) -> File:
    values: dict[str, object] = {"owner": "ann", "user": "ann", "kind": FileKind.OUTPUT, "agent": "a", "name": "n", "created_at": 1.0}
    return File(key=key, **({"expires_at": 1000.0} | values | fields))  # pyright: ignore[reportArgumentType] (a test's fields)


async def _admitted(store: Store, *reservations: Reservation, now: float = 1.0) -> int:
    async def one(reservation: Reservation) -> bool:
        try:
            await store.quotas.reserve(reservation, now)
        except QuotaUsedUp:
            return False
        return True

    return sum(await asyncio.gather(*map(one, reservations)))


@_case
async def exactly_what_is_left_is_admitted(store: Store) -> None:
    await store.quotas.put(a_quota())
    assert await _admitted(store, *(a_reservation(f"c{number}") for number in range(_RACERS))) == 10
    assert await store.quotas.reserved() == 10
    assert (await store.quotas.list())[0].used == 10


@_case
async def a_quota_is_for_what_it_names(store: Store) -> None:
    await store.quotas.put(a_quota(id="q1", amount=1, key="k1"))
    await store.quotas.put(a_quota(id="q2", amount=2, prefab_id="p"))
    assert await _admitted(store, a_reservation("a"), a_reservation("b"), a_reservation("c", key="k2"), a_reservation("d", key="k2")) == 2
    assert await _admitted(store, a_reservation("e", key="k2", prefab_id="other"), a_reservation("f", owner="bob")) == 2
    assert {quota.id: quota.used for quota in await store.quotas.list()} == {"q1": 1, "q2": 2}


@_case
async def what_is_refused_takes_nothing(store: Store) -> None:
    await store.quotas.put(a_quota(id="q1"))
    await store.quotas.put(a_quota(id="q2", amount=0, prefab_id="p"))
    assert await _admitted(store, a_reservation("a")) == 0
    assert [quota.used for quota in await store.quotas.list()] == [0, 0]
    assert await store.quotas.reserved() == 0


@_case
async def windows_begin_anew(store: Store) -> None:
    await store.quotas.put(a_quota(amount=1))
    assert await _admitted(store, a_reservation("a"), a_reservation("b"), now=150) == 1
    assert await _admitted(store, a_reservation("c"), now=199) == 0
    assert await _admitted(store, a_reservation("d"), now=200) == 1
    assert await store.quotas.release("a")  # of the window before: gives nothing back in this one
    assert await _admitted(store, a_reservation("e"), now=201) == 0
    assert await store.quotas.release("d")
    assert not await store.quotas.release("d")
    assert await _admitted(store, a_reservation("f"), now=202) == 1


@_case
async def a_rate_admits_a_burst_and_then_evenly(store: Store) -> None:
    await store.quotas.put(a_quota(kind="rate", amount=5, period=10.0))
    assert await _admitted(store, *(a_reservation(f"a{number}") for number in range(20)), now=100) == 5
    assert await _admitted(store, a_reservation("b"), now=101.9) == 0
    assert await _admitted(store, a_reservation("c"), a_reservation("d"), now=102) == 1
    try:
        await store.quotas.reserve(a_reservation("e"), 102)
    except QuotaUsedUp as error:
        assert abs(error.wait - 2) < 0.01  # noqa: PT017 (pytest is no part of the server)
    else:
        raise AssertionError("admitted")


@_case
async def reservations_end_in_usage_or_are_given_back(store: Store) -> None:
    await store.quotas.put(a_quota())
    assert await _admitted(store, *(a_reservation(f"c{number}") for number in range(4))) == 4
    assert await store.quotas.settle("c0", "2026-01-01", succeeded=True, seconds=1.5)
    assert not await store.quotas.settle("c0", "2026-01-01", succeeded=True, seconds=1.5)
    assert await store.quotas.settle("c1", "2026-01-01", succeeded=False, seconds=1.0)
    assert await store.quotas.release("c2")
    assert await store.quotas.expire(999.0) == 0
    assert await store.quotas.expire(1000.0) == 1
    (line,) = await store.quotas.usage("ann", "2026-01-01")
    assert (line.calls, line.succeeded, line.seconds, line.function) == (2, 1, 2.5, "f")
    assert await store.quotas.usage("ann", "2026-01-02") == []
    assert (await store.quotas.list())[0].used == 2


@_case
async def a_file_is_written_once_and_swept_when_it_is_over(store: Store) -> None:
    await store.files.add(a_file("k"))
    assert sum(file is not None for file in await asyncio.gather(*(store.files.begin("k", 10, 20) for _ in range(9)))) == 1
    assert await store.files.finish("k", 5, 30.0, 10)
    assert await store.files.begin("k", 11, 20) is None
    assert await store.files.hide_ended(29, 10) == []
    assert await store.files.hide_ended(30, 10) == ["k"]
    file = await store.files.get("k")
    assert file is not None
    assert file.state is FileState.DELETING
    assert await store.files.stored("ann") == 5
    await store.files.remove(["k"])
    assert await store.files.get("k") is None
    assert await store.files.stored("ann") == 0


@_case
async def what_is_expected_is_reserved_and_arrives_once(store: Store) -> None:
    expected = [a_file(f"agent-inputs/{number}", size=30, expires_at=100.0) for number in range(5)]
    answers = await asyncio.gather(*(store.files.add_within(file, 100) for file in expected))
    assert sorted(answers) == [(False, 90), (False, 90), (True, 30), (True, 60), (True, 90)]
    kept = [file for file, (done, _) in zip(expected, answers, strict=True) if done]
    assert await store.files.stored("ann") == 90
    assert await store.files.overdue(99.0, 10) == []
    assert await store.files.hide_ended(100.0, 10) == []
    assert sorted(await asyncio.gather(*(store.files.arrive(kept[0].key, 50.0) for _ in range(3)))) == [False, False, True]
    arrived = await store.files.get(kept[0].key)
    assert arrived is not None
    assert (arrived.state, arrived.size, arrived.created_at, arrived.expires_at) == (FileState.READY, 30, 50.0, None)
    assert {file.key for file in await store.files.overdue(100.0, 10)} == {file.key for file in kept[1:]}
    await store.files.hide([file.key for file in kept[1:]])
    assert not await store.files.arrive(kept[1].key, 101.0)
    await store.files.remove([file.key for file in kept[1:]])
    assert await store.files.stored("ann") == 30


@_case
async def bytes_are_reserved_within_the_owners_limit(store: Store) -> None:
    for number in range(10):
        await store.files.add(a_file(f"k{number}", user=f"u{number}"))
        assert await store.files.begin(f"k{number}", 10, 20)
    grown = await asyncio.gather(*(store.files.grow(f"k{number}", 30, 100, 2000.0) for number in range(10)))
    assert sum(done for done, _ in grown) == 3
    assert await store.files.stored("ann") == 90
    first = next(number for number, (done, _) in enumerate(grown) if done)
    assert await store.files.finish(f"k{first}", 10, None, 10)
    assert await store.files.stored("ann") == 70
    assert await store.files.give_up(None) == 9
    assert await store.files.stored("ann") == 10


@_case
async def pages_and_sessions_are_one_users_own(store: Store) -> None:
    for user in ("ann", "bob"):
        for session in ("abc", "abcd", None):
            key = f"{user}/{session}"
            await store.files.add(a_file(key, user=user, kind=FileKind.WORKSPACE, session=session))
            await store.files.begin(key, 10, 20)
            await store.files.finish(key, 1, None, 10)

    async def keys(session: str | None, after: str = "") -> list[str]:
        page = await store.files.list("ann", "ann", FileKind.WORKSPACE, agent="a", session=session, after=after, limit=2, now=10)
        return [file.key for file in page]

    assert await keys(None) == ["ann/None", "ann/abc"]
    assert await keys(None, "ann/abc") == ["ann/abcd"]
    assert await keys("abc") == ["ann/abc"]
    assert await store.files.hide_session("ann", "ann", "a", "abc") == ["ann/abc"]
    assert await keys(None) == ["ann/None", "ann/abcd"]


@_case
async def secrets_are_replaced_listed_and_removed(store: Store) -> None:
    secret = KeptSecret(owner="ann", user="ann", prefab_id="p", name="A", sealed="x", created_at=1.0, updated_at=1.0)
    await store.secrets.put(secret)
    await store.secrets.put(KeptSecret(owner="ann", user="bob", prefab_id="p", name="A", sealed="z", created_at=1.0, updated_at=1.0))
    await store.secrets.put(KeptSecret(owner="ann", user="ann", prefab_id="p", name="A", sealed="y", created_at=2.0, updated_at=2.0))
    (found,) = await store.secrets.list("ann", "ann")
    assert (found.sealed, found.created_at, found.updated_at) == ("y", 1.0, 2.0)
    assert not await store.secrets.reseal(secret, "new")
    assert await store.secrets.reseal(found, "new")
    assert await store.secrets.remove("ann", "ann", "p", "A")
    assert not await store.secrets.remove("ann", "ann", "p", "A")
    assert [item.user for item in await store.secrets.everyone()] == ["bob"]


@_case
async def audit_entries_see_the_one_before(store: Store) -> None:
    def make(last: AuditEntry | None) -> AuditEntry:
        number = 1 if last is None else last.number + 1
        fields = dict.fromkeys(("owner", "user", "credential", "action", "subject", "outcome"), "x")
        return AuditEntry(number=number, at=1.0, digest=f"{number} after {last.digest if last else None}"[:40], **fields)

    assert await store.audit.last() is None
    await asyncio.gather(*(store.audit.append(make) for _ in range(20)))
    assert [entry.number for entry in await store.audit.read(0, 100)] == list(range(1, 21))
    assert [entry.number for entry in await store.audit.read(18, 100)] == [19, 20]
