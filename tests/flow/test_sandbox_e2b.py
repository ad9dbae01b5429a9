"""The life of sandboxes through the real e2b package, unmodified, in both its faces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import e2b
import pytest
from e2b import AsyncSandbox, Sandbox

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def options(platform: Platform) -> dict[str, Any]:
    return {"api_key": platform.env["E2B_API_KEY"], "api_url": platform.api_url, "sandbox_url": platform.sandbox_url}


@pytest.mark.promise("sandboxes.e2b", "sandboxes.reply")
async def test_the_async_face(process_platform: Platform) -> None:
    known = options(process_platform)
    network: e2b.SandboxNetworkOpts = {"deny_out": [e2b.ALL_TRAFFIC], "allow_out": ["example.com"]}
    sandbox = await AsyncSandbox.create(
        "base",
        timeout=200,
        metadata={"k/é v&=": "ü %25"},
        envs={"GREETING": "hi"},
        network=network,
        lifecycle={"on_timeout": "pause", "auto_resume": True},
        **known,
    )
    info = await sandbox.get_info()
    assert (info.name, info.state, info.metadata) == ("base", "running", {"k/é v&=": "ü %25"})
    assert info.lifecycle == {"on_timeout": "pause", "auto_resume": True}
    assert (info.network or {}).get("deny_out") == ["0.0.0.0/0"]
    assert (await sandbox.commands.run("echo $GREETING")).stdout == "hi\n"
    await sandbox.set_timeout(100)
    left = (await sandbox.get_info()).end_at - datetime.now(UTC)
    assert timedelta(seconds=60) < left <= timedelta(seconds=100)
    await sandbox.update_network({"allow_internet_access": False})
    query = e2b.SandboxQuery(metadata={"k/é v&=": "ü %25"}, state=[e2b.SandboxState.RUNNING], template="base")
    listed = await AsyncSandbox.list(query, order="asc", **known).next_items()
    assert [row.sandbox_id for row in listed] == [sandbox.sandbox_id]
    metrics = await sandbox.get_metrics()
    assert metrics[-1].mem_total > 0
    assert await sandbox.pause() is True
    assert await sandbox.pause() is False
    again = await AsyncSandbox.connect(sandbox.sandbox_id, timeout=120, **known)
    assert (await again.commands.run("echo back")).stdout == "back\n"
    assert await again.kill() is True
    assert await again.kill() is False
    assert not await again.is_running()
    with pytest.raises(e2b.SandboxNotFoundException):
        await AsyncSandbox.connect(sandbox.sandbox_id, **known)


@pytest.mark.promise("sandboxes.e2b", "sandboxes.snapshots", "sandboxes.fork", "sandboxes.pause-files")
async def test_copies_through_the_async_face(process_platform: Platform) -> None:
    known = options(process_platform)
    source = await AsyncSandbox.create("base", timeout=200, **known)
    await source.commands.run("echo -n kept > /home/user/state")
    await source.pause(mode="filesystem")
    await source.connect(timeout=200, on_resume="reboot")
    assert await source.files.read("/home/user/state") == "kept"
    snapshot = await source.create_snapshot("of-e2b")
    assert snapshot.names == ["of-e2b:default"]
    found = await source.list_snapshots().next_items()
    assert [one.snapshot_id for one in found] == [snapshot.snapshot_id]
    copy = await AsyncSandbox.create(snapshot.snapshot_id, **known)
    forks = await source.fork(count=2, timeout=100)
    made: list[Any] = [copy]
    for fork in forks:
        assert not isinstance(fork, Exception), fork
        made.append(fork)
    for one in made:
        sandbox = getattr(one, "sandbox", one)
        assert await sandbox.files.read("/home/user/state") == "kept"
        await sandbox.kill()
    assert await AsyncSandbox.delete_snapshot(snapshot.snapshot_id, **known) is True
    assert await AsyncSandbox.delete_snapshot(snapshot.snapshot_id, **known) is False
    await source.kill()


@pytest.mark.promise("sandboxes.e2b")
async def test_the_sync_face(process_platform: Platform) -> None:
    def drive() -> None:
        known = options(process_platform)
        with Sandbox.create("base", timeout=100, idempotency_key="once-1", **known) as sandbox:
            assert Sandbox.create("base", idempotency_key="once-1", **known).sandbox_id == sandbox.sandbox_id
            assert sandbox.get_info().state == "running"
            assert sandbox.pause() is True
            assert sandbox.pause() is False
            sandbox.connect()
            assert sandbox.commands.run("echo sync").stdout == "sync\n"
            assert Sandbox.get_metrics(sandbox.sandbox_id, **known)[-1].cpu_count >= 1
        assert Sandbox.kill(sandbox.sandbox_id, **known) is False
        with pytest.raises(e2b.SandboxException) as raised:
            Sandbox.create("base", mcp={"browserbase": {"apiKey": "", "geminiApiKey": "", "projectId": ""}}, **known)
        assert "404" in str(raised.value) or "501" in str(raised.value)

    await anyio.to_thread.run_sync(drive)
