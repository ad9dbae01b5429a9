"""The conformance suite over every store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from agentapp.config import SessionSettings
from agentapp.errors import StoreError
from agentapp.sessions import make_store
from agentapp.sessions.conformance import CASES, run_case
from agentapps.databases import postgres, valkey

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from agentapp.sessions import SessionStore

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
async def postgres_url() -> AsyncGenerator[str]:
    async with postgres() as url:
        yield url


@pytest.fixture(scope="session")
async def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[str]:
    async with valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@contextlib.asynccontextmanager
async def opened(settings: dict[str, object], directory: Path) -> AsyncGenerator[SessionStore]:
    store = make_store(SessionSettings.model_validate(settings), directory)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.promise("agentapp.stores-conform")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("settings", [{}, {"backend": "memory"}], ids=["sqlite", "memory"])
async def test_a_store_of_this_process(case: str, settings: dict[str, object], tmp_path: Path) -> None:
    async with opened(settings, tmp_path) as store:
        await run_case(case, store)


@pytest.mark.promise("agentapp.stores-conform")
@pytest.mark.parametrize("case", CASES)
async def test_postgresql(case: str, postgres_url: str, tmp_path: Path) -> None:
    async with opened({"url": postgres_url}, tmp_path) as store:
        pool: Any = vars(store)["_pool"]
        async with pool.connection() as connection:
            await connection.execute("TRUNCATE agentapp_sessions, agentapp_modules, agentapp_leases")
        await run_case(case, store)


@pytest.mark.promise("agentapp.stores-conform")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scheme", ["redis", "valkey"])
async def test_valkey(case: str, scheme: str, valkey_url: str, tmp_path: Path) -> None:
    async with opened({"url": valkey_url.replace("redis", scheme, 1)}, tmp_path) as store:
        client: Any = vars(store)["_client"]
        await client.flushall()
        await run_case(case, store)


@pytest.mark.promise("agentapp.stores-two")
async def test_two_processes_may_make_the_tables_at_once(postgres_url: str, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(opened({"url": postgres_url}, tmp_path))


@pytest.mark.promise("agentapp.stores-say")
@pytest.mark.parametrize("settings", [{"url": "redis://127.0.0.1:1/0"}, {"path": "/proc/no/such/sessions.db"}], ids=["valkey", "sqlite"])
async def test_a_store_that_is_not_there_says_so(settings: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        async with opened(settings, tmp_path):
            pass
