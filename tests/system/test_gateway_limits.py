"""Functions that want too much: each fails alone, and its neighbours do not notice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from support.platform import Platform
from support.prefabs import KIT, call, kit, publish, result, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def narrow(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """A platform with little memory, disk and patience."""
    root = tmp_path_factory.mktemp("narrow")
    options = ("--memory", "512Mi", "--disk", "64Mi", "--processes", "64", "--call-timeout", "6")
    async with Platform(root / "data", *options, backend="process") as running:
        await publish(running, kit())
        yield running


async def beside(platform: Platform, name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a function while a neighbour of the same sandbox runs, which must succeed; return the result."""
    neighbour = asyncio.create_task(run(platform, call(KIT, "nap", {"seconds": 1.0})))
    found = await result(platform, KIT, name, parameters)
    assert (await neighbour).json()["status"] == "COMPLETED"
    assert found["status"] == "FAILED", found
    assert (await result(platform, KIT, "add", {"a": 1}))["status"] == "SUCCESS"
    return found["error"]


@pytest.mark.promise("gateway.limits")
@pytest.mark.parametrize("size", [300 * 2**20, 100 * 2**30])
async def test_too_much_memory_fails_alone(narrow: Platform, size: int) -> None:
    error = await beside(narrow, "hog", {"size": size})
    assert error["error_code"] == "RESOURCE_EXCEEDED"
    assert "MemoryError" in error["message"]


@pytest.mark.promise("gateway.limits")
async def test_an_output_of_a_gibibyte_fails_alone(narrow: Platform) -> None:
    assert (await beside(narrow, "large", {"size": 2**30}))["error_code"] in {"RESOURCE_EXCEEDED", "OUTPUT_TOO_LARGE"}


@pytest.mark.promise("gateway.limits")
async def test_a_batch_answers_no_more_than_fits(narrow: Platform) -> None:
    answer = (await run(narrow, *[call(KIT, "large", {"size": 7 * 2**20})] * 8)).json()
    codes = sorted(item["error"]["error_code"] for item in answer["results"] if item["error"])
    assert codes == ["OUTPUT_TOO_LARGE"] * 4
    assert answer["status"] == "PARTIAL_SUCCESS"


@pytest.mark.promise("gateway.limits")
async def test_a_full_disk_fails_alone(narrow: Platform) -> None:
    error = await beside(narrow, "fill")
    assert error["error_code"] == "RESOURCE_EXCEEDED"
    assert "No space left" in error["message"]
    assert (await result(narrow, KIT, "write_files", {"names": ["after"]}))["status"] == "SUCCESS"


@pytest.mark.promise("gateway.limits")
async def test_too_many_files_fail_alone(narrow: Platform) -> None:
    error = await beside(narrow, "many_files", {"count": 5000})
    assert error["error_code"] == "RESOURCE_EXCEEDED"
    assert "more than 1000 files" in error["message"]


@pytest.mark.promise("gateway.limits", "gateway.timeout")
async def test_processes_that_a_call_leaves_are_ended(narrow: Platform) -> None:
    await result(narrow, KIT, "forks", {"count": 150})  # the sandbox allows 64: some of them, or an error
    async with asyncio.timeout(15):
        while (found := await result(narrow, KIT, "processes"))["status"] != "SUCCESS" or found["output"]["output"]["count"] > 6:  # noqa: ASYNC110 (what is asked lives in another process)
            await asyncio.sleep(0.2)


@pytest.mark.promise("gateway.idle")
async def test_a_sandbox_ends_when_it_is_idle_and_starts_again(tmp_path: Any) -> None:
    async with Platform(tmp_path / "data", "--prefab-idle", "0.5", backend="process") as platform:
        await publish(platform, kit())
        await result(platform, KIT, "set_mark", {"mark": "first"})
        sandboxes = platform.data_dir / "sandboxes"
        async with asyncio.timeout(15):
            while any(sandboxes.iterdir()):  # noqa: ASYNC110 (what is asked lives in another process)
                await asyncio.sleep(0.1)
        assert (await result(platform, KIT, "marks"))["output"]["output"]["marks"] == []
