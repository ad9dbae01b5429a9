"""Signed requests at the `Signatures` service: time, replays, and what is signed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkit.wire import signing
from sandkit.wire.errors import ApiError
from sandyard.services.audit.chain import Chain
from sandyard.services.keys import Keys
from sandyard.services.signatures import WINDOW_SECONDS, Signatures
from sandyard.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.promise("api.signatures")]

BODY = b'{"a": 1}'


class Time:
    seconds = 1000.0

    def now(self) -> float:
        return self.seconds


class Signer:
    """One key with its secret, and the service that checks what it signs."""

    def __init__(self, keys: Keys, key: str) -> None:
        self.time = Time()
        self.key = key
        self.secret = keys.secret_of(key)
        self.service = Signatures(keys, self.time)
        self._nonces = iter(range(10**6))

    def sign(self, at: float | None = None, secret: str | None = None) -> signing.Signed:
        stamp = signing.Stamp(f"{self.time.seconds if at is None else at:.6f}", f"nonce-{next(self._nonces):020}")
        body_hash = signing.hash_of(BODY)
        return signing.Signed(self.key, signing.signature(secret or self.secret, "POST", "/sandboxes", body_hash, stamp), stamp, body_hash)

    async def check(self, signed: signing.Signed, method: str = "POST", target: str = "/sandboxes", body: bytes = BODY) -> str:
        async def read() -> bytes:
            await asyncio.sleep(0)
            return body

        return await self.service.owner_of(signed, method, target, read)


@pytest.fixture
async def signer(tmp_path: Path) -> AsyncGenerator[Signer]:
    store = await SqliteStore.open(tmp_path / "sandyard.db")
    secrets = tmp_path / "secrets"
    keys = await Keys.open(store.keys, await Chain.open(store.audit, secrets, Time()), Time(), secrets)
    _, key = await keys.create("signing", "owner-1")
    yield Signer(keys, key)
    await store.close()


async def test_what_was_signed_is_taken_once(signer: Signer) -> None:
    signed = signer.sign()
    assert await signer.check(signed) == "owner-1"
    with pytest.raises(ApiError, match="was sent before"):
        await signer.check(signed)
    assert await signer.check(signer.sign()) == "owner-1"


async def test_another_request_than_was_signed_is_refused(signer: Signer) -> None:
    with pytest.raises(ApiError, match="does not fit"):
        await signer.check(signer.sign(), method="PUT")
    with pytest.raises(ApiError, match="does not fit"):
        await signer.check(signer.sign(), target="/templates")
    with pytest.raises(ApiError, match="does not fit"):
        await signer.check(signer.sign(secret="ss-" + "0" * 64))
    with pytest.raises(ApiError, match="The body is another"):
        await signer.check(signer.sign(), body=b"{}")
    for key in ("sk-" + "0" * 40, "nonsense"):
        with pytest.raises(ApiError, match="does not fit"):
            await signer.check(signer.sign()._replace(key=key))


async def test_another_time_is_refused(signer: Signer) -> None:
    with pytest.raises(ApiError, match="is the clock right"):
        await signer.check(signer.sign(at=1000 + WINDOW_SECONDS + 1))
    with pytest.raises(ApiError, match="before this server started"):
        await signer.check(signer.sign(at=999))


async def test_a_nonce_is_remembered_as_long_as_its_time_is_taken(signer: Signer) -> None:
    signed = signer.sign(at=1000 + WINDOW_SECONDS)
    await signer.check(signed)
    for seconds in (1000 + WINDOW_SECONDS, 1000 + 2 * WINDOW_SECONDS, 1000 + 2 * WINDOW_SECONDS + 1):
        signer.time.seconds = seconds
        await signer.check(signer.sign())
        with pytest.raises(ApiError):
            await signer.check(signed)


@given(
    path=st.text(st.characters(codec="ascii", exclude_characters="?#%\0"), max_size=20),
    query=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5))),
)
def test_a_target_is_the_same_however_it_was_spelled(path: str, query: list[tuple[str, str]]) -> None:
    once = signing.target_of(quote(path), urlencode(query))
    assert once == signing.target_of(quote(path, safe=""), urlencode(query[::-1]))
    assert "\n" not in once


@pytest.mark.parametrize("missing", ["authorization", "x-sandyard-timestamp", "x-sandyard-nonce", "x-sandyard-content-sha256"])
def test_headers_are_read_as_they_are_written(missing: str) -> None:
    signed = signing.Signed("sk-abcdefgh", "0" * 64, signing.Stamp("1000.5", "n" * 16), signing.UNSIGNED)
    headers = signing.headers_of(signed)
    assert signing.read(headers) == signed
    with pytest.raises(ValueError, match="(?i)" + missing):
        signing.read({**headers, missing: "x"})
