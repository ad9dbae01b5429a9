"""The proof for the rows of volumes and of the secrets that sandboxes may be given, as cases that take an empty store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from sandyard.domain.errors import RowConflict
from sandyard.domain.sandboxes import SandboxState
from sandyard.domain.secrets import SandboxSecret
from sandyard.domain.volumes import Volume, VolumeMount
from sandyard.store.conformance import a_sandbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandyard.ports import Store

CASES: dict[str, Callable[[Store], Awaitable[None]]] = {}


def _case(run: Callable[[Store], Awaitable[None]]) -> Callable[[Store], Awaitable[None]]:
    CASES[run.__name__] = run
    return run


def a_volume(number: int = 0, owner: str = "ann") -> Volume:
    return Volume(id=f"v{number}", owner=owner, name=f"data-{number}", created_at=1.0 + number)


def a_secret(number: int = 0, **fields: object) -> SandboxSecret:
    secret = SandboxSecret(id=f"k{number}", owner="ann", name=f"Key-{number}", sealed="v1.a.b.c", created_at=1.0, updated_at=1.0)
    return replace(secret, **fields)  # pyright: ignore[reportArgumentType] (a test's fields)


@_case
async def volumes_are_listed_renamed_and_deleted(store: Store) -> None:
    for volume in (a_volume(0), a_volume(1), a_volume(2, "bob")):
        await store.volumes.add(volume)
        assert await store.volumes.get(volume.id) == volume == await store.volumes.find(volume.owner, volume.name)
    assert await store.volumes.find("ann", "data-2") is None
    assert [volume.id for volume in await store.volumes.list("ann")] == ["v0", "v1"]
    assert len(await store.volumes.list()) == 3
    assert await store.volumes.rename("v0", "other") == replace(a_volume(0), name="other")
    for conflict in (store.volumes.rename("v0", "data-1"), store.volumes.add(replace(a_volume(1), id="v9"))):
        await _conflict(conflict)
    assert (await store.volumes.delete("v0"), await store.volumes.delete("v0")) == (True, False)


@_case
async def a_volume_is_there_as_long_as_a_sandbox_has_it(store: Store) -> None:
    await store.volumes.add(a_volume(0))
    mounts = (VolumeMount("v0", "data-0", "/data"), VolumeMount("v0", "data-0", "/again"))
    await store.sandboxes.add(a_sandbox(0, volumes=mounts, sealed_env="v1.a.b.c"))
    assert await store.sandboxes.get("s0") == a_sandbox(0, volumes=mounts, sealed_env="v1.a.b.c")
    assert await store.volumes.users("v0") == ["s0"]
    assert await store.volumes.delete("v0") is False
    await store.sandboxes.change("s0", [SandboxState.STARTING], state=SandboxState.STOPPED)
    assert await store.volumes.users("v0") == []
    assert await store.volumes.delete("v0") is True
    await _conflict(store.sandboxes.add(a_sandbox(1, volumes=mounts)))


@_case
async def a_sandbox_is_given_volumes_that_are_there(store: Store) -> None:
    sized = replace(a_volume(0), size_bytes=1 << 40, inodes=7)
    await store.volumes.add(sized)
    assert await store.volumes.get("v0") == sized
    await store.sandboxes.add(a_sandbox(0))
    mounts = (VolumeMount("v0", "data-0", "/data"),)
    given = await store.sandboxes.change("s0", [SandboxState.STARTING], volumes=mounts)
    assert (given and given.volumes, await store.volumes.users("v0")) == (mounts, ["s0"])
    await _conflict(store.sandboxes.change("s0", [SandboxState.STARTING], volumes=(VolumeMount("v1", "none", "/data"),)))
    await store.sandboxes.change("s0", [SandboxState.STARTING], volumes=())
    assert await store.volumes.delete("v0") is True


@_case
async def of_a_delete_and_a_sandbox_one_is_first(store: Store) -> None:
    for number in range(20):
        await store.volumes.add(a_volume(number))
        row = a_sandbox(number, volumes=(VolumeMount(f"v{number}", "", "/data"),))
        added, deleted = await asyncio.gather(store.sandboxes.add(row), store.volumes.delete(f"v{number}"), return_exceptions=True)
        assert isinstance(added, RowConflict) is (deleted is True)


@_case
async def secrets_of_sandboxes_are_found_by_id_and_name_and_changed_once(store: Store) -> None:
    secret = a_secret(0, metadata={"a": "ü"}, hosts=("a.test",), description="d")
    await store.sandbox_secrets.add(secret)
    await store.sandbox_secrets.add(a_secret(1, owner="bob"))
    for reference in ("k0", "Key-0", "key-0"):
        assert await store.sandbox_secrets.find("ann", reference) == secret
        assert await store.sandbox_secrets.find("bob", reference) is None
    await _conflict(store.sandbox_secrets.add(a_secret(2, name="KEY-0")))
    await store.sandbox_secrets.add(a_secret(3))
    assert [row.id for row in await store.sandbox_secrets.list("ann", limit=1)] == ["k0"]
    assert [row.id for row in await store.sandbox_secrets.list("ann", limit=9, after="Key-0")] == ["k3"]
    assert len(await store.sandbox_secrets.everyone()) == 3
    changed = replace(secret, sealed="v1.d.e.f", version=2, updated_at=9.0)
    assert [await store.sandbox_secrets.change(changed, 1) for _ in range(2)] == [True, False]
    assert await store.sandbox_secrets.find("ann", "k0") == changed
    assert [await store.sandbox_secrets.remove("k0") for _ in range(2)] == [True, False]


async def _conflict(verb: Awaitable[object]) -> None:
    try:
        await verb
    except RowConflict:
        return
    raise AssertionError("the row was taken")
