"""Access tokens and internal tokens."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from sandyard.catalog import Route
from sandyard.domain.errors import TokenRefused
from sandyard.domain.sandboxes import SandboxState
from sandyard.services.secrets_dir import create_once
from sandyard.services.tokens import Tokens

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

ROUTE = Route(sandbox_id="s1", owner="ann", agent="hello", state=SandboxState.RUNNING, access_token="x")


class Time:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def tokens(tmp_path: Path, time: Time) -> Tokens:
    return await Tokens.open(tmp_path / "secrets", time)


async def test_an_access_token_is_stable_and_belongs_to_one_sandbox(tokens: Tokens, tmp_path: Path, time: Time) -> None:
    again = await Tokens.open(tmp_path / "secrets", time)
    stranger = await Tokens.open(tmp_path / "elsewhere", time)
    assert tokens.access_token("s1") == again.access_token("s1")
    assert len({tokens.access_token("s1"), tokens.access_token("s2"), stranger.access_token("s1")}) == 3


@pytest.mark.promise("store.internal_token")
async def test_an_internal_token_says_for_whom_the_request_is(tokens: Tokens, tmp_path: Path, time: Time) -> None:
    claims = tokens.verify(tokens.internal_token(ROUTE))
    assert claims.pop("jti")
    assert claims == {
        "iss": "sandyard",
        "aud": "sandyard",
        "sub": "ann",
        "iat": 1000,
        "exp": 1300,
        "agent": "hello",
        "sandbox": "s1",
        "scope": "sandbox",
    }
    restarted = await Tokens.open(tmp_path / "secrets", time)
    assert restarted.verify(tokens.internal_token(ROUTE))["sub"] == "ann"


async def test_the_same_token_is_given_out_until_a_minute_before_its_end(tokens: Tokens, time: Time) -> None:
    first = tokens.internal_token(ROUTE)
    time.seconds += 239
    assert tokens.internal_token(ROUTE) == first
    time.seconds += 1
    second = tokens.internal_token(ROUTE)
    assert second != first
    assert tokens.verify(first)
    time.seconds += 100
    with pytest.raises(TokenRefused, match="expired"):
        tokens.verify(first)


async def test_foreign_and_broken_tokens_are_refused(tokens: Tokens, tmp_path: Path, time: Time) -> None:
    stranger = await Tokens.open(tmp_path / "elsewhere", time)
    good = tokens.internal_token(ROUTE)
    header, payload, signature = good.split(".")
    unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
    for bad in (
        stranger.internal_token(ROUTE),
        "",
        "x",
        "a.b.c",
        f"{header}.{payload}.",
        f"{unsigned}.{payload}.",
        f"{unsigned}.{payload}.{signature}",
    ):
        with pytest.raises(TokenRefused):
            tokens.verify(bad)


async def test_secrets_are_readable_by_the_owner_only(tokens: Tokens, tmp_path: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()}
    assert modes == {"access_token_secret": 0o600, "internal_token_key.pem": 0o600}


def test_many_that_create_a_secret_at_once_agree(tmp_path: Path) -> None:
    def create(number: int) -> bytes:
        return create_once(tmp_path / "secret", lambda: b"%d" % number)

    with ThreadPoolExecutor(16) as pool:
        contents = list(pool.map(create, range(64)))
    assert len(set(contents)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
