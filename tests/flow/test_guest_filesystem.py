"""`filesystem.Filesystem` in a real sandbox: entries, listings, changes, and both ways of watching."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from support.envd import END, FILES

if TYPE_CHECKING:
    from support.envd import Envd, Json, Wire

pytestmark = pytest.mark.anyio


async def stat(wire: Wire, path: str) -> Json:
    reply = await wire.call(f"{FILES}/Stat", {"path": path})
    assert reply.status == 200, reply.body
    return reply.json["entry"]


@pytest.mark.promise("envd.entries")
async def test_entries(wire: Wire) -> None:
    await wire.shell(
        "mkdir e; cd e; echo 12345 > file; chmod 640 file; mkdir -m 1777 dir; touch -d 2020-01-02T03:04:05.678Z file; mkfifo pipe; chmod 4755 pipe"
    )
    assert await stat(wire, "e/file") == {
        "name": "file",
        "type": "FILE_TYPE_FILE",
        "path": "/home/user/e/file",
        "size": "6",
        "mode": 0o640,
        "permissions": "-rw-r-----",
        "owner": "user",
        "group": "user",
        "modifiedTime": "2020-01-02T03:04:05.678000000Z",
    }
    found = await stat(wire, "~/e/dir/")
    assert (found["type"], found["permissions"], found["mode"]) == ("FILE_TYPE_DIRECTORY", "dtrwxrwxrwx", 0o777)
    assert (await stat(wire, "e/pipe"))["permissions"] == "purwxr-xr-x"
    assert (await stat(wire, "/"))["path"] == "/"


@pytest.mark.promise("envd.entries")
async def test_links(wire: Wire) -> None:
    await wire.shell("mkdir l; cd l; touch file; ln -s file link; ln -s . here; ln -s nothing away; ln -s round round")
    expected = {
        "link": ("FILE_TYPE_FILE", "/home/user/l/file"),
        "here": ("FILE_TYPE_DIRECTORY", "/home/user/l"),
        "away": ("FILE_TYPE_SYMLINK", "nothing"),
        "round": ("FILE_TYPE_SYMLINK", "round"),
    }
    for name, (kind, target) in expected.items():
        found = await stat(wire, f"l/{name}")
        assert (found["type"], found["symlinkTarget"], found["isSymlink"], found["permissions"]) == (kind, target, True, "Lrwxrwxrwx")
    listed = (await wire.call(f"{FILES}/ListDir", {"path": "l", "depth": 9})).json["entries"]
    assert [each["name"] for each in listed] == ["away", "file", "here", "link", "round"], "links are not followed"


@pytest.mark.promise("envd.list")
async def test_listings(wire: Wire) -> None:
    await wire.shell("mkdir -p t/a/b/c t/d; touch t/a/1 t/a/b/2 t/a/b/c/3 t/z; mkdir -m 0 t/closed; ln -s t/a way")

    async def names(path: str, depth: int | None = None) -> list[str]:
        message: dict[str, Any] = {"path": path} | ({} if depth is None else {"depth": depth})
        return [each["path"] for each in (await wire.call(f"{FILES}/ListDir", message)).json["entries"]]

    assert await names("t") == [f"/home/user/t/{name}" for name in ("a", "closed", "d", "z")]
    assert await names("t", 0) == await names("t", 1)
    assert await names("/home/user/t/a", 2) == [f"/home/user/t/a/{name}" for name in ("1", "b", "b/2", "b/c")]
    assert len(await names("t", 99)) == 9
    assert await names("way", 1) == ["/home/user/way/1", "/home/user/way/b"]
    for path, status, code in (
        ("t/z", 400, "invalid_argument"),
        ("none", 404, "not_found"),
        ("t/closed", 403, "permission_denied"),
        ("", 400, "invalid_argument"),
    ):
        refused = await wire.call(f"{FILES}/ListDir", {"path": path})
        assert (refused.status, refused.json["code"]) == (status, code)


@pytest.mark.promise("envd.list")
async def test_ten_thousand_entries_and_any_name(wire: Wire) -> None:
    await wire.shell("mkdir many; cd many; touch $(seq 10000)")
    assert len((await wire.call(f"{FILES}/ListDir", {"path": "many"})).json["entries"]) == 10_000
    assert (await wire.call(f"{FILES}/Remove", {"path": "many"})).json == {}
    await wire.shell(r"""mkdir odd; cd odd; touch $'line\nbreak' $'\xff\xfe' ' ' '%2e' $'\u65e5'""")
    listed = (await wire.call(f"{FILES}/ListDir", {"path": "odd"})).json["entries"]
    assert {each["name"] for each in listed} == {"line\nbreak", "\ufffd\ufffd", " ", "%2e", "日"}


@pytest.mark.promise("envd.change")
async def test_make_move_remove(wire: Wire) -> None:
    made = await wire.call(f"{FILES}/MakeDir", {"path": "c/d/e"})
    assert made.json["entry"]["path"] == "/home/user/c/d/e"
    again = await wire.call(f"{FILES}/MakeDir", {"path": "c/d/e"})
    assert (again.status, again.json["code"]) == (409, "already_exists")
    await wire.shell("echo 1 > c/file; ln -s /etc/passwd c/link; mkdir -p c/full/of/things; touch c/full/of/things/x")
    assert (await wire.call(f"{FILES}/MakeDir", {"path": "c/file"})).json["code"] == "invalid_argument"
    moved = await wire.call(f"{FILES}/Move", {"source": "c/file", "destination": "c/new/place/name"})
    assert moved.json["entry"]["path"] == "/home/user/c/new/place/name"
    missing = await wire.call(f"{FILES}/Move", {"source": "c/file", "destination": "c/x"})
    assert (missing.status, missing.json["code"]) == (404, "not_found")
    for path in ("c/new/place/name", "c/link", "c/full", "c/d/e", "c/never"):
        assert (await wire.call(f"{FILES}/Remove", {"path": path})).json == {}
    assert (await wire.shell("ls c")).stdout == b"d\nnew\n"
    for path in ("/usr", "/"):
        assert (await wire.call(f"{FILES}/Remove", {"path": path})).status in (400, 403, 500)
    assert (await wire.run("/bin/true")).end["exitCode"] == 0


@pytest.mark.promise("envd.change")
async def test_moves_between_file_systems(wire: Wire) -> None:
    await wire.shell("mkdir -p far/below; echo 1 > far/below/x")
    moved = await wire.call(f"{FILES}/Move", {"source": "far", "destination": "/dev/shm/near"})
    assert moved.status == 200, moved.body
    assert (await wire.shell("cat /dev/shm/near/below/x; ls far")).stdout == b"1\n"


async def events(wire: Wire, watcher: str, last: tuple[str, str]) -> list[tuple[str, str]]:
    """Ask until `last` has come: this way of watching is to be asked."""
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(20):
        while last not in found:
            reply = await wire.call(f"{FILES}/GetWatcherEvents", {"watcherId": watcher})
            found += [(each["name"], each["type"].removeprefix("EVENT_TYPE_")) for each in reply.json["events"]]
    return found


@pytest.mark.promise("envd.watch")
async def test_watching_by_asking(wire: Wire) -> None:
    await wire.shell("mkdir w; touch w/old; mkdir w/sub")
    watcher = (await wire.call(f"{FILES}/CreateWatcher", {"path": "w"})).json["watcherId"]
    await wire.shell("cd w; echo 1 > new; chmod 600 old; mv old older; rm new; touch sub/unseen; mkdir last")
    assert await events(wire, watcher, ("last", "CREATE")) == [
        ("new", "CREATE"),
        ("new", "WRITE"),
        ("old", "CHMOD"),
        ("old", "RENAME"),
        ("older", "CREATE"),
        ("new", "REMOVE"),
        ("last", "CREATE"),
    ]
    assert (await wire.call(f"{FILES}/GetWatcherEvents", {"watcherId": watcher})).json == {"events": []}
    assert (await wire.call(f"{FILES}/RemoveWatcher", {"watcherId": watcher})).json == {}
    for method in ("GetWatcherEvents", "RemoveWatcher"):
        assert (await wire.call(f"{FILES}/{method}", {"watcherId": watcher})).status == 404
    for path, status in (("none", 404), ("/etc/passwd", 400)):
        assert (await wire.call(f"{FILES}/CreateWatcher", {"path": path})).status == status


@pytest.mark.promise("envd.watch")
async def test_watching_as_a_stream(clients_sandbox: Envd, wire: Wire) -> None:
    await wire.shell("mkdir s")
    message = {"path": "s", "recursive": True, "includeEntry": True}
    async with clients_sandbox.wire() as watching:
        headers = await watching.open_stream(f"{FILES}/WatchDir", message, Keepalive_Ping_Interval="1")
        messages = watching.messages(headers)
        assert await anext(messages) == (0, {"start": {}})
        await wire.ask("POST", "/files?path=s/f", b"12", Content_Type="application/octet-stream")
        made, written = [(await anext(messages))[1]["filesystem"] for _ in range(2)]
        assert (made["name"], made["type"], made["entry"]["path"]) == ("f", "EVENT_TYPE_CREATE", "/home/user/s/f")
        assert (written["type"], written["entry"]["size"]) == ("EVENT_TYPE_WRITE", "2")
        assert await anext(messages) == (0, {"keepalive": {}})
        await wire.call(f"{FILES}/Remove", {"path": "s/f"})
        gone = (await anext(messages))[1]["filesystem"]
        assert (gone["type"], "entry" in gone) == ("EVENT_TYPE_REMOVE", False)
    ended = await wire.stream(f"{FILES}/WatchDir", message, Connect_Timeout_Ms="100")
    assert ended[0] == (0, {"start": {}})
    assert (ended[-1][0], ended[-1][1]["error"]["code"]) == (END, "deadline_exceeded")
    missing = await wire.stream(f"{FILES}/WatchDir", {"path": "none"})
    assert [each[1]["error"]["code"] for each in missing] == ["not_found"]


@pytest.mark.promise("envd.watch-trees")
async def test_what_is_made_in_new_directories_is_not_lost(wire: Wire) -> None:
    await wire.shell("mkdir tree")
    watcher = (await wire.call(f"{FILES}/CreateWatcher", {"path": "tree", "recursive": True})).json["watcherId"]
    script = "cd tree; for n in $(seq 30); do mkdir -p $n/a/b/c; echo x > $n/a/b/c/f; done; mv 1 moved; echo more > moved/a/b/c/g; mv 2 /tmp/out; echo more > /tmp/out/a/unseen; touch end"
    assert (await wire.shell(script)).end["exitCode"] == 0
    found = await events(wire, watcher, ("end", "CREATE"))
    created = [name for name, kind in found if kind == "CREATE"]
    for number in range(1, 31):
        for name in ("", "/a", "/a/b", "/a/b/c", "/a/b/c/f"):
            assert created.count(f"{number}{name}") == 1
    assert ("moved", "CREATE") in found
    assert ("moved/a/b/c/g", "WRITE") in found
    assert not [name for name, _ in found if "unseen" in name]
    await wire.call(f"{FILES}/RemoveWatcher", {"watcherId": watcher})


@pytest.mark.promise("envd.watch-trees")
async def test_a_deep_tree(wire: Wire) -> None:
    await wire.shell("mkdir deep; cd deep; for n in $(seq 200); do mkdir d; cd d; done; cd ~/deep; mkdir -p $(seq -f 'w%g' 1000)")
    deep = "/".join(["d"] * 200)
    watcher = (await wire.call(f"{FILES}/CreateWatcher", {"path": "deep", "recursive": True})).json["watcherId"]
    await wire.shell(f"touch deep/{deep}/bottom deep/w1000/x")
    assert (f"{deep}/bottom", "CREATE") in await events(wire, watcher, ("w1000/x", "CREATE"))
    await wire.call(f"{FILES}/RemoveWatcher", {"watcherId": watcher})


@pytest.mark.promise("envd.watch-lost")
async def test_lost_events_are_told(wire: Wire) -> None:
    await wire.shell("mkdir flood")
    watcher = (await wire.call(f"{FILES}/CreateWatcher", {"path": "flood"})).json["watcherId"]
    await wire.shell("cd flood; touch $(seq 12000); rm -r ~/flood/*")
    async with asyncio.timeout(20):
        while (reply := await wire.call(f"{FILES}/GetWatcherEvents", {"watcherId": watcher})).status == 200:
            assert reply.json["events"], "nothing was said to be lost"
    assert reply.json["code"] == "data_loss"
    assert "Look at the directory again" in reply.json["message"]
    await wire.shell("touch flood/after")
    assert ("after", "CREATE") in await events(wire, watcher, ("after", "CREATE"))
    await wire.call(f"{FILES}/RemoveWatcher", {"watcherId": watcher})
