"""The built-in template `base`: there for every owner, without a build."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = pytest.mark.anyio


@pytest.mark.promise("template.base")
async def test_base_needs_no_build_and_is_one_for_all(process_platform: Platform) -> None:
    first, second = await asyncio.gather(process_platform.create("base"), process_platform.create("base"))
    try:
        assert first["templateID"] == second["templateID"]
        detail = (await process_platform.api.get(f"/sandboxes/{first['sandboxID']}")).json()
        assert detail["alias"] == "base"
        health = await process_platform.call(first, "/health", port=49983)
        assert health.status_code == 204
    finally:
        for sandbox in (first, second):
            gone = await process_platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")
            assert gone.status_code == 204


@pytest.mark.promise("template.base")
async def test_base_is_found_by_everyone_and_deleted_by_nobody(platform: Platform) -> None:
    sandbox = await platform.create("base")
    found = (await platform.api.get("/templates/base")).json()
    assert found["templateID"] == sandbox["templateID"]
    assert found["public"]
    assert found["buildStatus"] == "ready"
    assert "base" not in [template["name"] for template in (await platform.api.get("/templates")).json()]
    refused = await platform.api.delete("/templates/base")
    assert refused.status_code == 404, refused.text
    await platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")
