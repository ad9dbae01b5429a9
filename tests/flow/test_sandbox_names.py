"""`ppio_sandbox.Sandbox`: the public e2b client under PPIO's names, and nothing of our own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import e2b
import httpx
import pytest

from ppio_sandbox import AsyncSandbox, Sandbox, code_interpreter, core

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = pytest.mark.anyio

VARIABLES = ("API_KEY", "API_URL", "SANDBOX_URL", "DOMAIN", "DEBUG")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names no platform."""
    for vendor in ("PPIO", "E2B"):
        for name in VARIABLES:
            monkeypatch.delenv(f"{vendor}_{name}", raising=False)
    return monkeypatch


@pytest.fixture
def told(nowhere: pytest.MonkeyPatch, process_platform: Platform) -> Platform:
    """An environment that names the test's platform by PPIO's names, and another by E2B's."""
    for name in ("API_KEY", "API_URL", "SANDBOX_URL"):
        nowhere.setenv(f"PPIO_{name}", process_platform.env[f"PPIO_{name}"])
    nowhere.setenv("E2B_API_KEY", "e2b_" + "0" * 40)
    nowhere.setenv("E2B_API_URL", "http://127.0.0.1:9")
    return process_platform


@pytest.mark.promise("sandbox.ppio-names")
async def test_the_async_face_goes_by_ppios_names(told: Platform) -> None:
    sandbox = await AsyncSandbox.create("base", timeout=60)
    async with sandbox:
        assert (await sandbox.commands.run("echo hello")).stdout == "hello\n"
        await sandbox.commands.run("echo kept > note.txt")
        again = await AsyncSandbox.connect(sandbox.sandbox_id)
        assert await again.files.read("note.txt") == "kept\n"
        assert await sandbox.is_running()
        assert (await told.api.get(f"/sandboxes/{sandbox.sandbox_id}")).status_code == 200


@pytest.mark.promise("sandbox.ppio-names")
async def test_the_sync_face_goes_by_ppios_names(told: Platform) -> None:
    def work() -> tuple[str, bool]:
        sandbox = Sandbox.create("base", timeout=60)
        try:
            return sandbox.commands.run("echo hello").stdout, sandbox.is_running()
        finally:
            sandbox.kill()

    assert told.api_url
    assert await anyio.to_thread.run_sync(work) == ("hello\n", True)


@pytest.mark.promise("sandbox.ppio-names")
@pytest.mark.parametrize("face", [core, code_interpreter])
async def test_the_bound_client_goes_by_ppios_names(told: Platform, face: Any) -> None:
    """`E2B` holds its parameters: what it is not told is of the platform that `PPIO_*` names, never E2B's own service."""
    sandbox = await face.E2B().AsyncSandbox.create("base", timeout=60)
    assert (await told.api.get(f"/sandboxes/{sandbox.sandbox_id}")).status_code == 200
    await sandbox.kill()
    elsewhere = face.E2B(api_url="http://127.0.0.1:9", api_key="sk-" + "0" * 40)
    with pytest.raises(httpx.ConnectError):
        await elsewhere.AsyncSandbox.create("base", request_timeout=5)


@pytest.mark.promise("sandbox.ppio-names")
async def test_arguments_go_before_the_environment(nowhere: pytest.MonkeyPatch, process_platform: Platform) -> None:
    nowhere.setenv("PPIO_API_KEY", "sk-" + "0" * 40)
    nowhere.setenv("PPIO_API_URL", "http://127.0.0.1:9")
    pages = AsyncSandbox.list(api_key=process_platform.key, api_url=process_platform.api_url)
    listed = await process_platform.api.get("/v2/sandboxes")
    assert {row.sandbox_id for row in await pages.next_items()} == {row["sandboxID"] for row in listed.json()}


@pytest.mark.promise("sandbox.ppio-names")
async def test_without_a_key_the_error_says_what_to_set(nowhere: pytest.MonkeyPatch) -> None:
    assert nowhere
    with pytest.raises(e2b.AuthenticationException, match="set PPIO_API_KEY"):
        await AsyncSandbox.create("base")


@pytest.mark.promise("sandbox.ppio-names")
def test_every_name_of_the_client_is_here() -> None:
    missing = [name for name in e2b.__all__ if not hasattr(core, name)]
    assert missing == []
    assert issubclass(core.Sandbox, e2b.Sandbox)
    assert issubclass(core.AsyncTemplate, e2b.AsyncTemplate)


@pytest.mark.promise("sandbox.ppio-names")
def test_the_client_is_imported_when_it_is_used() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys, ppio_sandbox, ppio_sandbox.agent_runtime; print('e2b' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert said.stdout == "False\n"
