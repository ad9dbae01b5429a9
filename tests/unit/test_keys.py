"""API keys at the `Keys` service, on real rows."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandyard.domain.errors import StoreUnavailable
from sandyard.domain.keys import ApiKey
from sandyard.services.audit.chain import Chain
from sandyard.services.keys import Keys, is_platform_key, is_whole, spelled
from sandyard.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


class Time:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "sandyard.db")
    yield store
    await store.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait until the server's own watching has seen it; nothing announces that to a caller."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 (no event to wait for, see above)
            await asyncio.sleep(0.02)


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def open_keys(store: SqliteStore, tmp_path: Path) -> Keys:
    return await Keys.open(store.keys, await Chain.open(store.audit, tmp_path / "secrets", Time()), Time(), tmp_path / "secrets")


@pytest.mark.promise("store.keys_hashed")
async def test_a_new_key_is_known_in_both_spellings_and_stored_in_none(store: SqliteStore, tmp_path: Path) -> None:
    keys = await open_keys(store, tmp_path)
    row, text = await keys.create("laptop", owner="ann")
    body = text.removeprefix("sk-")
    assert keys.owner_of(text) == keys.owner_of(f"e2b_{body}") == "ann"
    assert row.hint == body[-4:]
    assert body not in repr(await keys.list())
    await store.close()
    assert body.encode() not in everything_in(tmp_path)


@pytest.mark.promise("store.keys_form")
async def test_a_key_names_its_row_and_one_that_was_cut_or_mistyped_is_none(store: SqliteStore, tmp_path: Path) -> None:
    keys = await open_keys(store, tmp_path)
    row, text = await keys.create("laptop")
    key_id, secret = "k" + text[3:23], text[23:87]
    assert key_id == row.id
    assert spelled(key_id, secret) == text
    assert is_whole(text)
    assert keys.owner_of(spelled(key_id, "0" * 64)) is None, "another secret under the same id"
    other, _ = await keys.create("other")
    assert keys.owner_of(spelled(other.id, secret)) is None, "the secret of another id"
    for place in (3, 30, 94):
        mistyped = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
        assert not is_whole(mistyped)
        assert keys.owner_of(mistyped) is None
        async with asyncio.timeout(0.2):  # nobody reads the rows for it
            assert await keys.find(mistyped) is None
    assert not is_whole(text[:-1])


@pytest.mark.promise("store.keys_form")
async def test_a_key_of_the_first_form_stays_good(store: SqliteStore, tmp_path: Path) -> None:
    keys = await open_keys(store, tmp_path)
    body = "0123456789abcdef0123456789abcdef01234567"
    pepper = (tmp_path / "secrets" / "pepper").read_bytes()
    digest = hmac.new(pepper, body.encode(), hashlib.sha256).hexdigest()
    await store.keys.add(ApiKey(id="k0123456789abcdef0123", owner="ann", name="old", digest=digest, hint=body[-4:], created_at=1.0))
    assert await keys.find(f"sk-{body}") == await keys.find(f"e2b_{body}") == "ann"
    assert await keys.find("sk-" + body[::-1]) is None


async def test_a_key_is_known_to_the_next_server(store: SqliteStore, tmp_path: Path) -> None:
    _, text = await (await open_keys(store, tmp_path)).create("laptop")
    assert (await open_keys(store, tmp_path)).owner_of(text) == "default"


async def test_without_the_pepper_the_rows_know_no_key(store: SqliteStore, tmp_path: Path) -> None:
    _, text = await (await open_keys(store, tmp_path)).create("laptop")
    stranger = await open_keys(store, tmp_path / "elsewhere")
    assert stranger.owner_of(text) is None


@pytest.mark.promise("store.keys_revoked")
async def test_revoking_acts_at_once_and_only_once(store: SqliteStore, tmp_path: Path) -> None:
    keys = await open_keys(store, tmp_path)
    row, text = await keys.create("laptop")
    assert await keys.revoke(row.id)
    assert keys.owner_of(text) is None
    assert not await keys.revoke(row.id)
    assert not await keys.revoke("k-unknown")
    assert [key.revoked_at for key in await keys.list()] == [1000.0]


@pytest.mark.promise("store.keys_revoked")
async def test_what_another_process_does_to_keys_acts_within_a_second(store: SqliteStore, tmp_path: Path) -> None:
    keys = await open_keys(store, tmp_path)
    other_store = await SqliteStore.open(tmp_path / "sandyard.db")
    other = await open_keys(other_store, tmp_path)
    watching = asyncio.create_task(keys.watch())
    try:
        row, text = await other.create("from the command line")
        await until(lambda: keys.owner_of(text) is not None)
        await other.revoke(row.id)
        await until(lambda: keys.owner_of(text) is None)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await other_store.close()


async def test_an_unknown_key_may_be_new_and_is_never_refused_unread(store: SqliteStore, tmp_path: Path) -> None:
    keys = await open_keys(store, tmp_path)
    other = await open_keys(store, tmp_path)
    _, text = await other.create("new")
    assert keys.owner_of(text) is None
    assert await keys.find(text) == "default"
    assert await keys.find("sk-" + "0" * 40) is None
    assert await keys.find("nonsense") is None


async def test_keys_that_were_read_stay_known_while_the_database_is_away(store: SqliteStore, tmp_path: Path) -> None:
    keys = await open_keys(store, tmp_path)
    _, text = await keys.create("laptop")
    await store.close()
    with pytest.raises(StoreUnavailable):
        await keys.refresh()
    assert keys.owner_of(text) == "default"


async def test_the_pepper_is_readable_by_the_owner_only(store: SqliteStore, tmp_path: Path) -> None:
    await open_keys(store, tmp_path)
    assert stat.S_IMODE((tmp_path / "secrets" / "pepper").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


@given(st.from_regex(r"(sk-|e2b_)([0-9a-f]{40}|[0-9a-f]{92})", fullmatch=True))
def test_the_form_of_a_key_is_recognised(text: str) -> None:
    assert is_platform_key(text)
    assert not is_platform_key(text + "0")
    assert not is_platform_key(" " + text)
    assert not is_platform_key(text + "\n")


@pytest.mark.parametrize("text", ["", "sk-", "sk-proj-abc", "SK-" + "0" * 40, "sk-" + "G" * 40, "sk-" + "0" * 39])
def test_keys_of_others_are_not_taken_for_ours(text: str) -> None:
    assert not is_platform_key(text)
