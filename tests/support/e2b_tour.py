"""A walk through everything that the public e2b client can do with sandboxes, written once for both of its faces."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import e2b
import httpx
from e2b.sandbox_sync.commands.command import Commands
from e2b.sandbox_sync.commands.pty import Pty

if TYPE_CHECKING:
    from support.e2b_face import Asked, Face

NOT_SERVED: dict[str, str] = {
    "Sandbox.get_mcp_token": "there is no `mcp-gateway` template: the client reads the token from a file of it",
    "Sandbox.get_mcp_url": "as above",
    "Secret.iam_token": "tokens of a cloud's identity service; nothing here issues them",
}
"""What the platform does not do, and why: the rest is walked through."""

_SIZE = e2b.PtySize(rows=24, cols=80)


async def created(face: Face, **options: Any) -> Asked:
    return face.of("Sandbox", await face.kind("Sandbox").create("base", timeout=120, **options))


async def life(face: Face) -> None:
    """From create to kill, with copies."""
    sandbox = await created(face, metadata={"walk": "life"})
    assert await sandbox.is_running()
    assert (await sandbox.get_info()).metadata == {"walk": "life"}
    assert (await sandbox.get_host(3000)).startswith(f"3000-{sandbox.sandbox_id}.")
    await sandbox.set_timeout(90)
    await sandbox.update_network({"allow_internet_access": False})
    assert (await sandbox.get_metrics())[-1].mem_total > 0
    await sandbox.commands.run("echo kept > note.txt")
    async with httpx.AsyncClient(trust_env=False) as stranger:
        assert (await stranger.get(await sandbox.download_url("note.txt"))).text == "kept\n"
        put = await stranger.post(await sandbox.upload_url("up.txt", use_signature_expiration=60), files={"file": b"by url"})
        assert put.status_code == 200
    await _copies(face, sandbox)
    assert await sandbox.pause() is True
    await face.of("Sandbox", await face.kind("Sandbox").connect(sandbox.sandbox_id)).beta_pause()
    again = face.of("Sandbox", await sandbox.connect())
    assert (await again.commands.run("cat note.txt up.txt")).stdout == "kept\nby url"
    listed = await _all(face, await face.kind("Sandbox").list(e2b.SandboxQuery(metadata={"walk": "life"})))
    assert [row.sandbox_id for row in listed] == [sandbox.sandbox_id]
    assert await sandbox.kill() is True
    assert await sandbox.is_running() is False


async def _copies(face: Face, sandbox: Asked) -> None:
    saved = await sandbox.create_snapshot()
    assert saved.snapshot_id in {row.snapshot_id for row in await _all(face, await sandbox.list_snapshots())}
    copy = face.of("Sandbox", await face.kind("Sandbox").create(saved.snapshot_id, timeout=60))
    assert (await copy.commands.run("cat note.txt")).stdout == "kept\n"
    await copy.kill()
    assert await face.kind("Sandbox").delete_snapshot(saved.snapshot_id) is True
    for fork in await sandbox.fork(timeout=60, count=2):
        twin = face.of("Sandbox", fork)
        assert (await twin.commands.run("cat note.txt")).stdout == "kept\n"
        await twin.kill()


async def _all(face: Face, pages: Any) -> list[Any]:
    return await face.of("Paginator", pages).next_items()


async def commands(face: Face) -> None:
    """Commands in the foreground and in the background."""
    sandbox = await created(face)
    run, heard = sandbox.commands, list[str]()
    ended = await run.run("echo $WORD; pwd; echo oops >&2", envs={"WORD": "hi"}, cwd="/tmp", on_stdout=heard.append)
    assert (ended.stdout, ended.stderr, "".join(heard)) == ("hi\n/tmp\n", "oops\n", "hi\n/tmp\n")
    cat = face.of("CommandHandle", await run.run("cat", background=True, stdin=True))
    assert cat.pid in {process.pid for process in await run.list()}
    watcher = face.of("CommandHandle", await run.connect(cat.pid))
    await run.send_stdin(cat.pid, "a\n")
    await cat.send_stdin("b\n")
    await _stream(run, cat.pid, ["c\n", "d\n"])
    await run.close_stdin(cat.pid)
    assert (await cat.wait()).stdout == "a\nb\nc\nd\n"
    await watcher.disconnect()
    late = face.of("CommandHandle", await run.run("cat", background=True, stdin=True))
    await late.close_stdin()
    assert (await late.wait()).exit_code == 0
    for stop in (run.kill, None):
        sleeper = face.of("CommandHandle", await run.run("sleep 60", background=True))
        assert await (sleeper.kill() if stop is None else stop(sleeper.pid)) is True
    await sandbox.kill()


async def _stream(part: Asked, pid: int, pieces: list[Any]) -> None:
    """Send pieces on one request: the synchronous face takes them all, the other one gives a handle."""
    if isinstance(part.thing, Commands | Pty):
        await part.stream_input(pid, pieces)
        return
    async with await part.stream_input(pid) as handle:
        for piece in pieces:
            await handle.send(piece)


async def files(face: Face) -> None:
    """Files, directories, watching."""
    sandbox = await created(face)
    there = sandbox.files
    assert (await there.write("d/a.txt", "one")).path == "/home/user/d/a.txt"
    await there.write_files([{"path": "d/b.txt", "data": "two"}, {"path": "d/c.txt", "data": b"three"}])
    assert [entry.name for entry in await there.list("d")] == ["a.txt", "b.txt", "c.txt"]
    assert await there.read("d/c.txt") == "three"
    assert (await there.get_info("d/a.txt")).size == 3
    assert await there.make_dir("e") is True
    assert (await there.rename("d/a.txt", "e/z.txt")).path == "/home/user/e/z.txt"
    await there.remove("d")
    assert (await there.exists("d"), await there.exists("e/z.txt")) == (False, True)
    seen = asyncio.Queue[str]()

    def note(event: e2b.FilesystemEvent) -> None:
        seen.put_nowait(event.name)

    named = {"on_event": note} if face.classes["Sandbox"] is e2b.AsyncSandbox else {}
    watching = face.of("WatchHandle", await there.watch_dir("e", **named))
    await there.write("e/new.txt", "x")
    if named:
        async with asyncio.timeout(20):
            assert await seen.get() == "new.txt"
    else:
        assert {event.name for event in await watching.get_new_events()} == {"new.txt"}
    await watching.stop()
    await sandbox.kill()


async def terminals(face: Face) -> None:
    """Terminals."""
    sandbox = await created(face)
    screen = bytearray()
    seen = {"on_data": screen.extend} if face.classes["Sandbox"] is e2b.AsyncSandbox else {}
    terminal = face.of("CommandHandle", await sandbox.pty.create(_SIZE, **seen))
    await sandbox.pty.resize(terminal.pid, e2b.PtySize(rows=30, cols=100))
    await sandbox.pty.send_stdin(terminal.pid, b"stty size > size.txt\n")
    await face.of("CommandHandle", await sandbox.pty.connect(terminal.pid, **seen)).disconnect()
    await _stream(sandbox.pty, terminal.pid, [b"echo end\n", b"exit\n"])
    assert (await terminal.wait()).exit_code == 0
    assert await sandbox.files.read("size.txt") == "30 100\n"
    other = face.of("CommandHandle", await sandbox.pty.create(_SIZE, **seen))
    assert await sandbox.pty.kill(other.pid) is True
    await sandbox.kill()


async def git(face: Face) -> None:
    """Git, against a repository inside."""
    sandbox = await created(face)
    there = sandbox.git
    await there.configure_user("Ada", "ada@example.com")
    await there.set_config("pull.rebase", "false")
    assert await there.get_config("pull.rebase") == "false"
    await there.init("origin.git", bare=True, initial_branch="main")
    await there.init("work", initial_branch="main")
    await there.remote_add("work", "origin", "/home/user/origin.git")
    assert await there.remote_get("work", "origin") == "/home/user/origin.git"
    await sandbox.files.write("work/a.txt", "one\n")
    await there.add("work")
    assert (await there.status("work")).has_staged
    await there.commit("work", "First")
    await there.push("work", remote="origin", branch="main")
    await there.clone("/home/user/origin.git", path="copy")
    assert await sandbox.files.read("copy/a.txt") == "one\n"
    await there.create_branch("work", "side")
    await there.checkout_branch("work", "main")
    assert (await there.branches("work")).current_branch == "main"
    await there.delete_branch("work", "side", force=True)
    await there.pull("copy", remote="origin", branch="main")
    await sandbox.files.write("work/a.txt", "changed\n")
    await there.restore("work", ["a.txt"])
    await sandbox.files.write("work/a.txt", "changed\n")
    await there.reset("work", mode="hard")
    assert await sandbox.files.read("work/a.txt") == "one\n"
    await there.dangerously_authenticate("ada", "token-of-ada", host="git.example")
    await sandbox.kill()


async def templates(face: Face) -> None:
    """Builds, tags; what images a build may begin with is written down by the client alone."""
    kind, known = face.kind("Template"), face.known
    plain = face.of("Template", face.classes["Template"]())
    steps = (await plain.from_template("base")).run_cmd("echo made > /home/user/made.txt").set_envs({"STEP": "yes"})
    name = f"tour-{'sync' if face.classes['Template'] is e2b.Template else 'async'}"
    made = await kind.build(steps, name, tags=["v1"])
    assert (await kind.exists(name), await kind.alias_exists(name)) == (True, True)
    await kind.assign_tags(f"{name}:v1", "stable")
    assert {tag.tag for tag in await kind.get_tags(made.template_id)} >= {"v1", "stable"}
    await kind.remove_tags(name, "stable")
    sandbox = face.of("Sandbox", await face.kind("Sandbox").create(f"{name}:v1", timeout=60, **known))
    assert (await sandbox.commands.run("cat made.txt; echo $STEP")).stdout == "made\nyes\n"
    await sandbox.kill()
    again = face.of("Template", face.classes["Template"]())
    await again.skip_cache()
    later = await kind.build_in_background((await again.from_base_image()).run_cmd("true"), name)
    async with asyncio.timeout(60):
        while (await kind.get_build_status(later)).status.value in ("building", "waiting"):  # noqa: ASYNC110 (as the client itself)
            await asyncio.sleep(0.2)
    assert (await kind.get_build_status(later)).status.value == "ready"
    assert '"fromTemplate": "base"' in await kind.to_json(steps)
    await _images(face)


async def _images(face: Face) -> None:
    for method, given in {
        "from_alpine_image": (),
        "from_arch_image": (),
        "from_aws_registry": ("registry.example/image", "key", "secret", "eu-west-1"),
        "from_bun_image": (),
        "from_debian_image": (),
        "from_dockerfile": ("FROM debian:stable\nRUN true\n",),
        "from_fedora_image": (),
        "from_gcp_registry": ("registry.example/image", {"type": "service_account"}),
        "from_image": ("registry.example/image",),
        "from_node_image": (),
        "from_python_image": (),
        "from_ubuntu_image": (),
    }.items():
        built = await getattr(face.of("Template", face.classes["Template"]()), method)(*given)
        assert (await face.kind("Template").to_dockerfile(built)).startswith("FROM ")


async def volumes(face: Face) -> None:
    """Volumes, with and without a sandbox that has them."""
    kind, there = face.kind("Volume"), {"api_url": face.known["api_url"]}
    made = await kind.create(f"tour-{id(face)}")
    volume = face.of("Volume", await kind.connect(made.volume_id))
    assert volume.volume_id in {each.volume_id for each in await kind.list()}
    assert (await kind.get_info(made.volume_id)).token == made.token
    assert (await volume.make_dir("d", mode=0o750, **there)).mode == 0o750
    assert (await volume.write_file("d/a.txt", "one", **there)).size == 3
    assert (await volume.exists("d/a.txt", **there), await volume.exists("d/b.txt", **there)) == (True, False)
    sandbox = await created(face, volume_mounts={"/mnt/tour": made})
    assert (await sandbox.commands.run("cat /mnt/tour/d/a.txt; echo two > /mnt/tour/d/b.txt")).stdout == "one"
    await sandbox.kill()
    assert [entry.path for entry in await volume.list("/", depth=2, **there)] == ["/d", "/d/a.txt", "/d/b.txt"]
    assert await volume.read_file("d/b.txt", **there) == "two\n"
    assert (await volume.update_metadata("d/b.txt", mode=0o600, **there)).mode == 0o600
    assert (await volume.get_info("d/b.txt", **there)).mode == 0o600
    await volume.remove("d", **there)
    assert await volume.list("/", **there) == []
    assert (await kind.destroy(made.volume_id), await kind.destroy(made.volume_id)) == (True, False)


async def secrets(face: Face) -> None:
    """Secrets, and a sandbox that has one."""
    kind, name = face.kind("Secret"), f"tour-{id(face)}"
    made = await kind.create(name, "first", metadata={"a": "b"})
    assert (await kind.update(name, "second")).version == 2
    assert (await kind.get_info(made.secret_id)).metadata == {"a": "b"}
    assert name in {each.name for each in await _all(face, await kind.list())}
    sandbox = await created(face, envs={"KEY": f"-{await kind.fill(name)}-"})
    assert (await sandbox.commands.run("echo $KEY")).stdout == "-second-\n"
    await sandbox.kill()
    assert (await kind.destroy(name), await kind.exists(name), await kind.destroy(name)) == (True, False, False)


WALKS = (life, commands, files, terminals, git, templates, volumes, secrets)
