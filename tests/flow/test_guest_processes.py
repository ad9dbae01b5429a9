"""`process.Process` in a real sandbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.envd import END, PROCESS, Output, b64, basic, frame, order

if TYPE_CHECKING:
    from support.envd import Envd, Json, Wire

pytestmark = pytest.mark.anyio


def data_of(event: Json) -> dict[str, str]:
    return event["event"].get("data", {})


@pytest.mark.promise("envd.start")
async def test_start_output_end(wire: Wire) -> None:
    out = await wire.shell("echo out; echo err >&2; exit 3")
    assert [list(event) for event in out.events] == [["start"], ["end"]]
    assert (out.stdout, out.stderr, out.error) == (b"out\n", b"err\n", None)
    assert out.end == {"exitCode": 3, "exited": True, "status": "exit status 3", "error": "exit status 3"}


@pytest.mark.promise("envd.start")
async def test_output_comes_as_it_is_printed(clients_sandbox: Envd, wire: Wire) -> None:
    headers = await wire.open_stream(f"{PROCESS}/Start", order("/bin/cat", stdin=True))
    messages = wire.messages(headers)
    pid = (await anext(messages))[1]["event"]["start"]["pid"]
    async with clients_sandbox.wire() as other:
        for word in (b"one", b"two"):
            assert (await other.call(f"{PROCESS}/SendInput", {"process": {"pid": pid}, "input": {"stdin": b64(word)}})).json == {}
            assert data_of((await anext(messages))[1]) == {"stdout": b64(word)}
        assert (await other.call(f"{PROCESS}/CloseStdin", {"process": {"pid": pid}})).status == 200
    assert [flags async for flags, _ in messages] == [0, END]


@pytest.mark.promise("envd.end")
@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("true", {"exitCode": 0, "exited": True, "status": "exit status 0"}),
        ("kill -9 $$", {"exitCode": -1, "exited": False, "status": "signal: killed", "error": "signal: killed"}),
        ("kill -15 $$", {"exitCode": -1, "exited": False, "status": "signal: terminated", "error": "signal: terminated"}),
    ],
)
async def test_how_it_ended(wire: Wire, script: str, end: Json) -> None:
    assert (await wire.shell(script)).end == end


@pytest.mark.promise("envd.end")
async def test_a_child_that_holds_the_pipe_does_not_hold_the_end(wire: Wire) -> None:
    out = await wire.shell("sleep 50 & echo $!")
    assert out.end["exitCode"] == 0
    lives = await wire.shell(f"kill -0 {int(out.stdout)} && kill -9 {int(out.stdout)}")
    assert lives.end["exitCode"] == 0, "what it started in the background lives on"


@pytest.mark.promise("envd.environment")
async def test_environment_and_directory(wire: Wire) -> None:
    out = await wire.shell("echo $GREETING $HOME $USER $LOGNAME $ADDED $PWD", envs={"ADDED": "mine", "GREETING": "other"})
    assert out.stdout == b"other /home/user user user mine /home/user\n"
    assert (await wire.shell("pwd", cwd="/tmp")).stdout == b"/tmp\n"
    await wire.shell("mkdir -p ~/below")
    assert (await wire.shell("pwd", cwd="below")).stdout == b"/home/user/below\n"


@pytest.mark.promise("envd.environment")
@pytest.mark.parametrize(
    ("command", "more"),
    [
        (("/bin/true",), {"cwd": "/nowhere"}),
        (("/nowhere",), {}),
        (("/etc/passwd",), {}),
        (("",), {}),
        (("/bin/true", "a\0b"), {}),
        (("/bin/true",), {"envs": {"a=b": "c"}}),
        (("/bin/true",), {"envs": {"a": 5}}),
        (("/bin/true",), {"args": "no list"}),
    ],
)
async def test_what_cannot_start_is_the_callers_mistake(wire: Wire, command: tuple[str, ...], more: Json) -> None:
    out = await wire.run(*command, **more)
    assert not out.events
    assert out.error is not None
    assert out.error["code"] == "invalid_argument"


@pytest.mark.promise("envd.no-root")
async def test_without_root_there_is_one_user(wire: Wire) -> None:
    assert (await wire.shell("id -un", headers={"Authorization": basic("user")})).stdout == b"user\n"
    refused = await wire.shell("id", headers={"Authorization": basic("root")})
    assert refused.error is not None
    assert refused.error["code"] == "permission_denied"
    assert "no mapped root" in refused.error["message"]
    unknown = await wire.shell("id", headers={"Authorization": basic("somebody")})
    assert unknown.error is not None
    assert unknown.error["code"] == "unauthenticated"


@pytest.mark.promise("envd.outlives")
async def test_a_process_outlives_its_stream_and_others_follow_it(clients_sandbox: Envd) -> None:
    async with clients_sandbox.wire() as first:
        headers = await first.open_stream(f"{PROCESS}/Start", order("/bin/cat", stdin=True, tag="kept"))
        pid = (await anext(first.messages(headers)))[1]["event"]["start"]["pid"]
    async with clients_sandbox.wire() as second, clients_sandbox.wire() as third:
        listed = (await second.call(f"{PROCESS}/List", {})).json["processes"]
        assert {"config": {"cmd": "/bin/cat", "args": [], "envs": {}}, "pid": pid, "tag": "kept"} in listed
        headers = await second.open_stream(f"{PROCESS}/Connect", {"process": {"tag": "kept"}})
        messages = second.messages(headers)
        assert (await anext(messages))[1]["event"] == {"start": {"pid": pid}}
        await third.call(f"{PROCESS}/SendInput", {"process": {"tag": "kept"}, "input": {"stdin": b64(b"still here")}})
        assert data_of((await anext(messages))[1]) == {"stdout": b64(b"still here")}
        await third.call(f"{PROCESS}/CloseStdin", {"process": {"pid": pid}})
        assert [flags async for flags, _ in messages] == [0, END]
        late = await third.output(f"{PROCESS}/Connect", {"process": {"pid": pid}})
        assert [list(event) for event in late.events] == [["start"], ["end"]]
        assert late.end["exitCode"] == 0
        assert pid not in [each["pid"] for each in (await third.call(f"{PROCESS}/List", {})).json.get("processes", [])]


@pytest.mark.promise("envd.input")
async def test_standard_input_is_open_unless_refused(wire: Wire, clients_sandbox: Envd) -> None:
    assert (await wire.shell("readlink /proc/self/fd/0")).stdout == b"/dev/null\n"
    message = order("/bin/cat")
    del message["stdin"]
    headers = await wire.open_stream(f"{PROCESS}/Start", message)
    messages = wire.messages(headers)
    pid = (await anext(messages))[1]["event"]["start"]["pid"]
    async with clients_sandbox.wire() as other:
        begin: Json = {"start": {"process": {"pid": pid}}}
        numbers: list[Json] = [{"data": {"input": {"stdin": b64(b"%d," % number)}}} for number in range(100)]
        keepalive: Json = {"keepalive": {}}
        body = b"".join(map(frame, (begin, *numbers, keepalive)))
        await other.send("POST", f"/{PROCESS}/StreamInput", None, {"Content-Type": "application/connect+json"})
        for at in range(0, len(body), 7):  # frames are cut anywhere
            await other.send_chunk(body[at : at + 7])
        other.writer.write(b"0\r\n\r\n")
        status, found = await other.head()
        assert status == 200
        assert [each async for each in other.messages(found)] == [(0, {}), (END, {})]
        assert (await other.call(f"{PROCESS}/SendInput", {"process": {"pid": pid}, "input": {"pty": ""}})).status == 400
        await other.call(f"{PROCESS}/CloseStdin", {"process": {"pid": pid}})
    out = Output()
    async for flags, each in messages:
        if flags != END:
            out.add(each["event"])
    assert out.stdout == b"".join(b"%d," % number for number in range(100))


@pytest.mark.promise("envd.input")
async def test_input_that_nobody_takes_ends_with_its_deadline(clients_sandbox: Envd, wire: Wire) -> None:
    headers = await wire.open_stream(f"{PROCESS}/Start", order("/bin/sleep", "60", stdin=True))
    pid = (await anext(wire.messages(headers)))[1]["event"]["start"]["pid"]
    async with clients_sandbox.wire() as other:
        message = {"process": {"pid": pid}, "input": {"stdin": b64(b"x" * 1_000_000)}}
        reply = await other.call(f"{PROCESS}/SendInput", message, Connect_Timeout_Ms="200")
        assert (reply.status, reply.json["code"]) == (504, "deadline_exceeded")
        assert (await other.call(f"{PROCESS}/SendSignal", {"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"})).status == 200


@pytest.mark.promise("envd.deadline")
async def test_the_deadline_kills_and_says_so(clients_sandbox: Envd, wire: Wire) -> None:
    out = await wire.shell("sleep 60 & echo $!; wait", headers={"Connect-Timeout-Ms": "300"})
    assert out.error is not None
    assert out.error["code"] == "deadline_exceeded"
    assert len(out.events) == 1, "no end event: clients would take it for the command's own"
    async with clients_sandbox.wire() as other:
        ended = await other.output(f"{PROCESS}/Connect", {"process": {"pid": out.pid}})
        assert ended.end["status"] == "signal: killed"
        gone = await other.shell(f"kill -0 {int(out.stdout)}")
        assert gone.end["exitCode"] == 1, "what it started has gone, too"


@pytest.mark.promise("envd.deadline")
async def test_a_followers_deadline_kills_nothing(clients_sandbox: Envd, wire: Wire) -> None:
    headers = await wire.open_stream(f"{PROCESS}/Start", order("/bin/cat", stdin=True))
    pid = (await anext(wire.messages(headers)))[1]["event"]["start"]["pid"]
    async with clients_sandbox.wire() as other:
        followed = await other.output(f"{PROCESS}/Connect", {"process": {"pid": pid}}, Connect_Timeout_Ms="100")
        assert followed.error is not None
        assert followed.error["code"] == "deadline_exceeded"
        assert (await other.call(f"{PROCESS}/CloseStdin", {"process": {"pid": pid}})).status == 200


@pytest.mark.promise("envd.keepalive")
async def test_a_silent_stream_says_that_it_lives(wire: Wire) -> None:
    headers = await wire.open_stream(f"{PROCESS}/Start", order("/bin/sleep", "20"), Keepalive_Ping_Interval="1")
    messages = wire.messages(headers)
    await anext(messages)
    assert await anext(messages) == (0, {"event": {"keepalive": {}}})


@pytest.mark.promise("envd.signals")
async def test_signals(clients_sandbox: Envd, wire: Wire) -> None:
    headers = await wire.open_stream(f"{PROCESS}/Start", order("/bin/bash", "-c", "trap 'echo asked; exit 5' TERM; echo ready; sleep 60"))
    messages = wire.messages(headers)
    pid = (await anext(messages))[1]["event"]["start"]["pid"]
    assert data_of((await anext(messages))[1]) == {"stdout": b64(b"ready\n")}
    async with clients_sandbox.wire() as other:
        assert (await other.call(f"{PROCESS}/SendSignal", {"process": {"pid": pid}, "signal": "SIGNAL_SIGTERM"})).json == {}
        left = [each async for each in messages]
        assert left[-2][1]["event"]["end"]["exitCode"] == 5
        for signal in ("SIGNAL_SIGKILL", "SIGNAL_SIGTERM"):
            missing = await other.call(f"{PROCESS}/SendSignal", {"process": {"pid": pid}, "signal": signal})
            assert (missing.status, missing.json["code"]) == (404, "not_found")


@pytest.mark.promise("envd.pty")
async def test_a_terminal(clients_sandbox: Envd, wire: Wire) -> None:
    script = (
        "tty; stty size; echo ready; read -r line; echo got $line; trap 'stty size; exit 4' WINCH; echo sized; while sleep 0.05; do :; done"
    )
    headers = await wire.open_stream(f"{PROCESS}/Start", order("/bin/bash", "-c", script, pty=(91, 23)))
    out = Output()
    messages = wire.messages(headers)
    async with clients_sandbox.wire() as other:
        async for flags, each in messages:
            if flags == END:
                break
            out.add(each["event"])
            if b"ready" in out.pty and b"typed" not in out.pty:
                await other.call(f"{PROCESS}/SendInput", {"process": {"pid": out.pid}, "input": {"pty": b64(b"typed\n")}})
            if b"sized" in out.pty and b"30 100" not in out.pty:
                size = {"process": {"pid": out.pid}, "pty": {"size": {"cols": 100, "rows": 30}}}
                await other.call(f"{PROCESS}/Update", size)
    assert b"/dev/pts/" in out.pty
    assert b"23 91" in out.pty
    assert b"30 100" in out.pty
    assert out.end["exitCode"] == 4


@pytest.mark.promise("envd.pty")
async def test_a_terminals_owner_is_its_user_and_ctrl_c_reaches_the_command(clients_sandbox: Envd, wire: Wire) -> None:
    headers = await wire.open_stream(
        f"{PROCESS}/Start",
        order("/bin/bash", "-c", "stat -c %U $(tty); trap 'echo stopped; exit 9' INT; echo ready; sleep 60 & wait", pty=(80, 24)),
    )
    out = Output()
    async with clients_sandbox.wire() as other:
        async for flags, each in wire.messages(headers):
            if flags == END:
                break
            out.add(each["event"])
            if b"ready" in out.pty and b"^C" not in out.pty:
                await other.call(f"{PROCESS}/SendInput", {"process": {"pid": out.pid}, "input": {"pty": b64(b"\x03")}})
    assert b"user" in out.pty
    assert b"stopped" in out.pty
    assert out.end["exitCode"] == 9


@pytest.mark.promise("envd.connect")
@pytest.mark.parametrize(
    ("method", "message", "status", "code"),
    [
        ("SendInput", {"process": {"pid": 99999}, "input": {"stdin": ""}}, 404, "not_found"),
        ("SendInput", {}, 404, "not_found"),
        ("SendSignal", {"process": {"pid": -1}}, 400, "invalid_argument"),
        ("SendSignal", {"process": {"pid": "x"}}, 400, "invalid_argument"),
        ("SendSignal", {"process": 5}, 400, "invalid_argument"),
        ("Update", {"process": {"tag": ["x"]}}, 400, "invalid_argument"),
        ("CloseStdin", {"process": {"tag": ""}}, 404, "not_found"),
        ("Nothing", {}, 501, "unimplemented"),
    ],
)
async def test_mistakes_have_codes(wire: Wire, method: str, message: Json, status: int, code: str) -> None:
    reply = await wire.call(f"{PROCESS}/{method}", message)
    assert (reply.status, reply.json["code"]) == (status, code)
    assert reply.json["message"]


@pytest.mark.promise("envd.many")
async def test_64_commands_at_once(clients_sandbox: Envd) -> None:
    async def one(number: int) -> bytes:
        async with clients_sandbox.wire() as wire:
            return (await wire.shell(f"sleep 0.2; echo {number}")).stdout

    assert await asyncio.gather(*map(one, range(64))) == [b"%d\n" % number for number in range(64)]


@pytest.mark.slow
@pytest.mark.promise("envd.many")
async def test_200_terminals_at_once(clients_sandbox: Envd) -> None:
    wires = [await clients_sandbox.connect() for _ in range(200)]
    try:
        streams = [wire.messages(await wire.open_stream(f"{PROCESS}/Start", order("/bin/cat", pty=(80, 24)))) for wire in wires]
        pids = [(await anext(stream))[1]["event"]["start"]["pid"] for stream in streams]
        async with clients_sandbox.wire() as other:
            for pid in pids:
                await other.call(f"{PROCESS}/SendInput", {"process": {"pid": pid}, "input": {"pty": b64(b"%d\n\x04" % pid)}})
        for pid, stream in zip(pids, streams, strict=True):
            out = Output()
            async with asyncio.timeout(60):
                async for flags, each in stream:
                    if flags != END:
                        out.add(each["event"])
            assert b"%d\r\n%d\r\n" % (pid, pid) in out.pty.replace(b"^D\x08\x08", b"")
            assert out.end["exitCode"] == 0
    finally:
        for wire in wires:
            wire.close()
