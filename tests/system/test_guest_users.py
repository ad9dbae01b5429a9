"""Whose files and processes, where the guest is root inside: each request acts as the named user, and as nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.envd import FILES, PROCESS, basic, envd, order
from support.sandboxes import rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.envd import Envd, Wire

pytestmark = [pytest.mark.anyio, pytest.mark.needs_root]

RAW = "application/octet-stream"
ROOT = basic("root")
SECRET = "mkdir -p /root/s && chmod 700 /root && echo secret > /root/s/file && chmod 600 /root/s/file"

OTHER = "echo other:x:1001:1001::/home/other:/bin/sh >> /etc/passwd && echo other:x:1001: >> /etc/group && install -d -o 1001 -g 1001 /home/other"


@pytest.fixture(scope="module")
async def rooted(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Envd]:
    """A sandbox whose guest is root inside."""
    async with rig(tmp_path_factory.mktemp("rooted")) as running, envd(running, "rooted", system="writable") as sandbox:
        async with sandbox.wire() as wire:
            done = await wire.shell(f"{SECRET} && {OTHER}", headers={"Authorization": ROOT})
            assert done.end["exitCode"] == 0, done
        yield sandbox


@pytest.fixture
async def wire(rooted: Envd) -> AsyncGenerator[Wire]:
    async with rooted.wire() as connected:
        yield connected


@pytest.mark.promise("envd.users")
async def test_processes_are_the_named_users(wire: Wire) -> None:
    script = "id -un; id -gn; echo $HOME $USER $SHELL; pwd; grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status | cut -f2 | sort -u"
    nothing = b"0000000000000000\n"
    assert (await wire.shell(script)).stdout == b"user\nuser\n/home/user user /bin/bash\n/home/user\n" + nothing
    other = await wire.shell(script, headers={"Authorization": basic("other")})
    assert other.stdout == b"other\nother\n/home/other other /bin/sh\n/home/other\n" + nothing
    assert (await wire.shell("id -u; pwd", headers={"Authorization": ROOT})).stdout == b"0\n/root\n"
    nobody = await wire.shell("id", headers={"Authorization": basic("missing")})
    assert nobody.error is not None
    assert nobody.error["code"] == "unauthenticated"


@pytest.mark.promise("envd.users")
async def test_files_belong_to_the_named_user(wire: Wire) -> None:
    for user, home in (("user", "/home/user"), ("other", "/home/other"), ("root", "/root")):
        reply = await wire.ask("POST", f"/files?path=d/f&username={user}", b"x", Content_Type=RAW)
        assert reply.json[0]["path"] == f"{home}/d/f"
        found = (await wire.call(f"{FILES}/Stat", {"path": "d/f"}, Authorization=basic(user))).json["entry"]
        assert (found["owner"], found["group"]) == (user, user)
        made = (await wire.call(f"{FILES}/MakeDir", {"path": "d/m"}, Authorization=basic(user))).json["entry"]
        assert made["owner"] == user


@pytest.mark.promise("envd.deputy")
async def test_a_user_reaches_through_the_guest_no_more_than_itself(wire: Wire) -> None:
    await wire.shell("ln -s /root/s/file link; ln -s /root way; ln -s /etc/shadow shadow; mkdir mine; mkfifo mine/pipe")
    for path in ("/root/s/file", "link", "way/s/file", "shadow", "~/../../root/s/file", "/proc/1/environ", "/proc/1/mem"):
        assert (path, (await wire.ask("GET", f"/files?path={path}")).status) in ((path, 403), (path, 404), (path, 400))
        assert (path, (await wire.ask("POST", f"/files?path={path}", b"x", Content_Type=RAW)).status) in (
            (path, 403),
            (path, 404),
            (path, 400),
        )
    for path in ("/root/s", "way", "way/s", "/root/s/file"):
        for method in ("Stat", "ListDir", "MakeDir", "Remove", "CreateWatcher"):
            if (path, method) in (("way", "Stat"), ("way", "Remove")):
                continue  # the link is the user's own
            reply = await wire.call(f"{FILES}/{method}", {"path": path})
            assert (path, method, reply.status) in ((path, method, 403), (path, method, 409), (path, method, 400))
    for source, destination in (("/root/s/file", "x"), ("mine", "/root/x"), ("mine", "/etc/x"), ("mine", "way/x")):
        assert (await wire.call(f"{FILES}/Move", {"source": source, "destination": destination})).status == 403
    composed = await wire.ask("POST", "/files/compose", b'{"source_paths":["link"],"destination":"x"}')
    assert composed.status == 403
    refused = await wire.run("/bin/true", cwd="/root/s")
    assert refused.error is not None
    assert (await wire.shell("cat /root/s/file; stat -c '%U %a' /root", headers={"Authorization": ROOT})).stdout == b"secret\nroot 700\n"


@pytest.mark.promise("envd.deputy")
async def test_a_tree_is_removed_as_its_user(wire: Wire) -> None:
    await wire.shell(
        "mkdir -p /home/user/t/a && touch /home/user/t/a/x && chmod 755 /home/user/t /home/user/t/a && chown -R root /home/user/t",
        headers={"Authorization": ROOT},
    )
    refused = await wire.call(f"{FILES}/Remove", {"path": "t"})
    assert (refused.status, refused.json["code"]) == (403, "permission_denied")
    assert "ermission denied" in refused.json["message"]
    assert (await wire.call(f"{FILES}/Remove", {"path": "/home/user/t"}, Authorization=ROOT)).json == {}


@pytest.mark.promise("envd.deputy")
async def test_the_guest_is_closed_to_users(rooted: Envd, wire: Wire) -> None:
    script = """
for pid in 1 2; do
  kill -0 $pid && echo signalled $pid
  for name in mem environ maps fd/3 root/root; do cat /proc/$pid/$name >/dev/null 2>&1 && echo read $pid $name; done
done
true
"""
    assert (await wire.shell(script)).stdout == b""
    before = rooted.server()
    headers = await wire.open_stream(
        f"{PROCESS}/Start", order("/bin/bash", "-c", "while :; do kill -9 1 2; done", cwd="/"), Connect_Timeout_Ms="2000"
    )
    async with rooted.wire() as other:  # while the guest starts processes as that very user
        assert {(await other.run("/bin/true")).end["exitCode"] for _ in range(150)} == {0}
    async for _ in wire.pieces(headers):
        pass
    assert rooted.server() == before


@pytest.mark.promise("envd.users")
async def test_terminals_and_links_in_tmp_are_the_users(wire: Wire) -> None:
    owner = await wire.run("/bin/bash", "-c", "stat -c %U $(tty)", pty=(80, 24), headers={"Authorization": basic("other")})
    assert owner.pty == b"other\r\n"
    await wire.shell("ln -s /etc/made-by-root /tmp/trap-of-user")
    assert (await wire.ask("POST", "/files?path=/tmp/trap-of-user", b"x", Content_Type=RAW)).status == 403


@pytest.mark.promise("envd.environment")
async def test_what_cannot_start_as_another_user_is_told_too(wire: Wire) -> None:
    assert (await wire.run("true")).end["exitCode"] == 0, "a name is looked for in PATH"
    for command in (("/nowhere",), ("nowhere",), ("/etc/passwd",), ("/bin/true", "a\0b"), ("/root/s/file",)):
        out = await wire.run(*command)
        assert out.error is not None
        assert out.error["code"] == "invalid_argument"
    assert (await wire.shell("grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2; ls /proc/self/fd | wc -l")).stdout.split()[:2] == [
        b"0" * 16
    ] * 2
