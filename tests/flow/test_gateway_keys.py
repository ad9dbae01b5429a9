"""Requests that come again, take long, or are left: idempotency keys, heartbeats, cancellation."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from support.prefabs import KIT, call, refused, result, run

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = pytest.mark.anyio


@pytest.mark.promise("gateway.idempotency")
async def test_a_key_makes_a_request_run_once(gateway: Platform) -> None:
    headers = {"Idempotency-Key": "once"}
    one = call(KIT, "set_mark", {"mark": "once"})
    first, second = await run(gateway, one, headers=headers), await run(gateway, one, headers=headers)
    assert first.status_code == second.status_code == 200
    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert (await result(gateway, KIT, "marks"))["output"]["output"]["marks"].count("once") == 1
    refused(await run(gateway, call(KIT, "add", {"a": 1}), headers=headers), 422, "IDEMPOTENCY_MISMATCH")


@pytest.mark.promise("gateway.idempotency")
async def test_a_key_in_use_is_in_progress_and_a_refused_request_keeps_none(gateway: Platform) -> None:
    headers = {"Idempotency-Key": "in-use"}
    one = call(KIT, "nap", {"seconds": 1.5})
    begun = await run(gateway, one, headers=headers | {"Prefer": "respond-async"})
    assert begun.status_code == 202
    refused(await run(gateway, one, headers=headers), 409, "IDEMPOTENCY_IN_PROGRESS")
    unused = {"Idempotency-Key": "refused"}
    assert (await run(gateway, call(KIT, "add"), headers=unused)).status_code == 422
    assert (await run(gateway, call(KIT, "add", {"a": 1}), headers=unused)).status_code == 200


@pytest.mark.promise("gateway.idempotency")
@pytest.mark.parametrize("key", ["", "x" * 10_000, "with space", "tab\there"])
async def test_keys_that_are_none_are_refused(gateway: Platform, key: str) -> None:
    refused(await run(gateway, call(KIT, "add", {"a": 1}), headers={"Idempotency-Key": key}), 400, "BAD_REQUEST")


@pytest.mark.promise("gateway.idempotency")
async def test_a_caller_that_leaves_finds_its_answer_by_its_key(gateway: Platform) -> None:
    headers = {"Idempotency-Key": "left"}
    one = call(KIT, "nap", {"seconds": 1.0, "mark": "left"})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6):
            await run(gateway, one, headers=headers)
    async with asyncio.timeout(10):
        while (reply := await run(gateway, one, headers=headers)).status_code == 409:  # noqa: ASYNC110 (the answer of the contract while it runs)
            await asyncio.sleep(0.1)
    assert reply.json()["status"] == "COMPLETED"
    assert (await result(gateway, KIT, "marks"))["output"]["output"]["marks"].count("left") == 1


@pytest.mark.promise("gateway.heartbeat")
async def test_a_long_run_beats_and_is_one_json_document(gateway: Platform) -> None:
    body = {"calls": [call(KIT, "nap", {"seconds": 1.5})]}
    async with gateway.api.stream("POST", "/v1/run", json=body, headers={"Accept": "application/json"}) as reply:
        chunks = [chunk async for chunk in reply.aiter_raw()]
    assert len(chunks) >= 3
    assert set(chunks[0]) == {0x20}
    assert json.loads(b"".join(chunks))["status"] == "COMPLETED"


@pytest.mark.promise("gateway.disconnect")
async def test_a_caller_that_leaves_cancels_its_call(gateway: Platform) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await run(gateway, call(KIT, "nap", {"seconds": 2.5, "mark": "not-cancelled"}))
    await result(gateway, KIT, "nap", {"seconds": 3.0})
    assert "not-cancelled" not in (await result(gateway, KIT, "marks"))["output"]["output"]["marks"]
