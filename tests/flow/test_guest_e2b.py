"""The guest through the real e2b package, unmodified: commands, terminals, files and watching, in both its faces."""

# pyright: reportUnknownMemberType=false
# (files.write takes an IO of anything)

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import e2b
import pytest
from e2b import AsyncSandbox, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(scope="module")
async def options(process_platform: Platform) -> AsyncGenerator[dict[str, Any]]:
    """What a client needs to reach one sandbox; the tests share it."""
    platform = process_platform
    known: dict[str, Any] = {"api_key": platform.env["E2B_API_KEY"], "api_url": platform.api_url, "sandbox_url": platform.sandbox_url}
    sandbox = await AsyncSandbox.create("base", timeout=600, **known)
    yield {"sandbox_id": sandbox.sandbox_id, **known}
    await sandbox.kill()


@pytest.mark.promise("envd.e2b")
async def test_commands(options: dict[str, Any]) -> None:
    sandbox = await AsyncSandbox.connect(**options)
    done = await sandbox.commands.run("echo out; echo err >&2; pwd", envs={"A": "b"}, cwd="/tmp")
    assert (done.stdout, done.stderr, done.exit_code) == ("out\n/tmp\n", "err\n", 0)
    with pytest.raises(e2b.CommandExitException) as failed:
        await sandbox.commands.run("echo before; exit 7")
    assert (failed.value.exit_code, failed.value.stdout) == (7, "before\n")
    with pytest.raises(e2b.TimeoutException):
        await sandbox.commands.run("sleep 20", timeout=0.5)
    with pytest.raises(e2b.InvalidArgumentException):
        await sandbox.commands.run("true", cwd="/nowhere")
    said: list[str] = []
    handle = await sandbox.commands.run("while read -r line; do echo got $line; done", background=True, stdin=True, on_stdout=said.append)
    await sandbox.commands.send_stdin(handle.pid, "one\n")
    await sandbox.commands.send_stdin(handle.pid, "two\n")
    assert handle.pid in [each.pid for each in await sandbox.commands.list()]
    await sandbox.commands.close_stdin(handle.pid)
    assert (await handle.wait()).stdout == "got one\ngot two\n"
    assert "".join(said) == "got one\ngot two\n"
    sleeper = await sandbox.commands.run("sleep 60", background=True)
    other = await sandbox.commands.connect(sleeper.pid)
    assert await sandbox.commands.kill(sleeper.pid) is True
    assert await sandbox.commands.kill(sleeper.pid) is False
    with pytest.raises(e2b.CommandExitException):
        await other.wait()


@pytest.mark.promise("envd.e2b")
async def test_terminals(options: dict[str, Any]) -> None:
    sandbox = await AsyncSandbox.connect(**options)
    shown = bytearray()
    resized = asyncio.Event()

    def show(data: bytes) -> None:
        shown.extend(data)
        if b"24 81" in shown:
            resized.set()

    terminal = await sandbox.pty.create(e2b.PtySize(rows=24, cols=81), on_data=show, envs={"PS1": ""})
    await sandbox.pty.send_stdin(terminal.pid, b"stty size\n")
    async with asyncio.timeout(20):
        await resized.wait()
    await sandbox.pty.resize(terminal.pid, e2b.PtySize(rows=30, cols=100))
    await sandbox.pty.send_stdin(terminal.pid, b"stty size; exit 3\n")
    with pytest.raises(e2b.CommandExitException) as ended:
        await terminal.wait()
    assert ended.value.exit_code == 3
    assert b"30 100" in shown
    assert await sandbox.pty.kill(terminal.pid) is False


@pytest.mark.promise("envd.e2b")
async def test_files(options: dict[str, Any]) -> None:
    sandbox = await AsyncSandbox.connect(**options)
    files = sandbox.files
    assert (await files.write("f/text.txt", "text")).path == "/home/user/f/text.txt"
    assert await files.read("f/text.txt") == "text"
    many = await files.write_files([{"path": f"f/{number}", "data": bytes([number])} for number in range(5)])
    assert [each.name for each in many] == ["0", "1", "2", "3", "4"]
    assert bytes(await files.read("f/3", format="bytes")) == b"\3"
    large = b"0123456789abcdef" * 200_000
    await files.write("f/large", io.BytesIO(large), gzip=True)
    assert bytes(await files.read("f/large", format="bytes", gzip=True)) == large
    assert b"".join([piece async for piece in await files.read("f/large", format="stream")]) == large
    tagged = await files.write("f/tagged", "x", metadata={"kind": "test"})
    assert tagged.metadata == {"kind": "test"}
    assert (await files.get_info("f/tagged")).metadata == {"kind": "test"}
    await sandbox.commands.run("ln -s text.txt f/link")
    link = await files.get_info("f/link")
    assert (link.type, link.symlink_target) == (e2b.FileType.SYMLINK, "/home/user/f/text.txt")
    assert len(await files.list("f")) == 9
    assert await files.make_dir("f/g/h") is True
    assert await files.make_dir("f/g/h") is False
    assert (await files.rename("f/text.txt", "f/g/renamed")).path == "/home/user/f/g/renamed"
    assert await files.exists("f/text.txt") is False
    await files.remove("f")
    assert await files.exists("f") is False
    for mistake, error in ((files.read("f"), e2b.FileNotFoundException), (files.list("/etc/passwd"), e2b.InvalidArgumentException)):
        with pytest.raises(error):
            await mistake


@pytest.mark.promise("envd.e2b")
async def test_signed_urls(options: dict[str, Any], process_platform: Platform) -> None:
    sandbox = await AsyncSandbox.connect(**options)
    put = await process_platform.api.post(sandbox.upload_url("signed.txt"), files={"file": ("signed.txt", b"by url")})
    assert put.status_code == 200, put.text
    got = await process_platform.api.get(sandbox.download_url("signed.txt"))
    assert got.content == b"by url"


@pytest.mark.promise("envd.e2b")
async def test_watching_as_a_stream(options: dict[str, Any]) -> None:
    sandbox = await AsyncSandbox.connect(**options)
    await sandbox.files.make_dir("watched")
    seen: list[tuple[str, e2b.FilesystemEventType]] = []
    written, complete = asyncio.Event(), asyncio.Event()

    def note(event: e2b.FilesystemEvent) -> None:
        seen.append((event.name, event.type))
        if event.type is e2b.FilesystemEventType.WRITE:
            written.set()
        if event.type is e2b.FilesystemEventType.REMOVE:
            complete.set()

    watching = await sandbox.files.watch_dir("watched", on_event=note, recursive=True)
    await sandbox.files.write("watched/new/file", "1")
    async with asyncio.timeout(20):
        await written.wait()  # what has gone again before a new directory was looked into is not told: the kernel tells of it to nobody
    await sandbox.files.remove("watched/new/file")
    async with asyncio.timeout(20):
        await complete.wait()
    await watching.stop()
    assert ("new", e2b.FilesystemEventType.CREATE) in seen
    assert ("new/file", e2b.FilesystemEventType.WRITE) in seen


@pytest.mark.promise("envd.e2b")
async def test_the_synchronous_face(options: dict[str, Any]) -> None:
    await anyio.to_thread.run_sync(_synchronously, options)


def _synchronously(options: dict[str, Any]) -> None:
    sandbox = Sandbox.connect(**options)
    assert sandbox.commands.run("echo hello").stdout == "hello\n"
    handle = sandbox.commands.run("sleep 0.1; echo late", background=True)
    assert handle.wait().stdout == "late\n"
    sandbox.files.write("sync", "1")
    assert sandbox.files.read("sync") == "1"
    sandbox.files.make_dir("sync.d")
    watching = sandbox.files.watch_dir("sync.d", include_entry=True)
    sandbox.files.write("sync.d/x", "2")
    events = watching.get_new_events()
    assert [event.type for event in events] == [e2b.FilesystemEventType.CREATE, e2b.FilesystemEventType.WRITE]
    assert events[0].entry is not None
    assert events[0].entry.path == "/home/user/sync.d/x"
    watching.stop()
    terminal = sandbox.pty.create(e2b.PtySize(rows=20, cols=70))
    sandbox.pty.send_stdin(terminal.pid, b"exit\n")
    assert terminal.wait().exit_code == 0
