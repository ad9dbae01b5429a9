"""The built-in template `base`: there for every owner, without a build."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.platform import Platform, run, until

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.promise("template.prepared")
async def test_what_is_to_be_prepared_is_built_though_nobody_asks(tmp_path: Path) -> None:
    """The memory back end cannot carry out steps: here it shows that they were tried."""
    async with Platform(tmp_path / "data", "--prepare", "base", "--prepare", "code-interpreter-v1") as platform:
        assert (await platform.api.get("/templates/base")).json()["buildStatus"] == "ready"

        async def ended() -> bool:
            return (await platform.api.get("/templates/code-interpreter-v1")).json()["buildStatus"] == "error"

        await until(ended)
    code, _, said = await run("serve", "--data-dir", str(tmp_path / "other"), "--prepare", "no-such")
    assert (code, "no-such" in said, (tmp_path / "other").exists()) == (2, True, False), said
