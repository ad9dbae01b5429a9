"""The code interpreter's port as whoever speaks its protocol meets it: lines, floods, who may ask, and what is no request."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from support.interpreter import Interpreter
    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]

FLOOD = 1_000_000_000
SIZES = """
import os
def peak(process): return int(next(line for line in open(f"/proc/{process}/status") if line.startswith("VmHWM")).split()[1])
print(max(peak("self"), peak(os.getppid())) * 1024)
"""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "code": st.none() | st.integers() | st.lists(st.text()),
        "context_id": JSON,
        "language": JSON,
        "env_vars": JSON,
    },
)


async def result(of: Interpreter, code: str, **options: Any) -> str:
    """Return the text of what the code comes to, whatever else is told."""
    (found,) = [line async for line in of.lines(code, **options) if line["type"] == "result"]
    return found["text"]


@pytest.mark.promise("interpreter.keepalive")
async def test_the_lines_of_an_execution(shared_interpreter: Interpreter) -> None:
    began = time.monotonic()
    told = [line async for line in shared_interpreter.lines("import time\nprint('a')\ntime.sleep(6)\n'b'")]
    assert [line["type"] for line in told] == ["number_of_executions", "stdout", "keepalive", "result", "end_of_execution"]
    assert time.monotonic() - began > 6
    assert told[1]["text"] == "a\n"
    assert told[3] == {"type": "result", "is_main_result": True, "text": "b"}


async def peak_inside(of: Interpreter) -> int:
    """Return the most bytes that the kernel or the program above it has had."""
    told = [line async for line in of.lines(SIZES) if line["type"] == "stdout"]
    return int(told[0]["text"])


@pytest.mark.promise("interpreter.flood")
async def test_a_gigabyte_passes_in_constant_memory(shared_interpreter: Interpreter) -> None:
    before, inside = shared_interpreter.platform.peak_memory(), await peak_inside(shared_interpreter)
    code = f"line = 'x' * 9_999 + '\\n'\nfor _ in range({FLOOD // 10_000}): print(line, end='')"
    received = 0
    async with shared_interpreter.client() as client, client.stream("POST", "/execute", json={"code": code}, timeout=300) as reply:
        async for chunk in reply.aiter_bytes():
            received += chunk.count(b"x")
    assert received >= FLOOD // 10_000 * 9_999
    assert shared_interpreter.platform.peak_memory() - before < 64 << 20
    assert await peak_inside(shared_interpreter) - inside < 64 << 20


@pytest.mark.promise("interpreter.flood", "interpreter.interrupt")
async def test_a_reader_who_stops_holds_the_code_back_and_one_who_leaves_lets_it_go(shared_interpreter: Interpreter) -> None:
    lines = shared_interpreter.lines("printed = 0\nwhile True:\n    print('x' * 1000)\n    printed += 1")
    assert (await anext(lines))["type"] == "number_of_executions"
    await anext(lines)
    await lines.aclose()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] (a generator, as it is written)
    assert int(await result(shared_interpreter, "printed")) > 0


@pytest.mark.promise("interpreter.streaming")
async def test_one_print_of_many_characters_is_whole(shared_interpreter: Interpreter) -> None:
    told = [line async for line in shared_interpreter.lines("import sys; n = sys.stdout.write('äx' * 300_000); n")]
    texts = [line["text"] for line in told if line["type"] == "stdout"]
    assert "".join(texts) == "äx" * 300_000
    assert len(texts) > 4
    assert told[-2]["text"] == "600000"


@pytest.mark.promise("interpreter.state")
async def test_executions_of_one_context_take_turns(shared_interpreter: Interpreter) -> None:
    async def run(number: int) -> str:
        return "".join([line["text"] async for line in shared_interpreter.lines(f"print({number}, end='')") if line["type"] == "stdout"])

    assert await asyncio.gather(*(run(number) for number in range(20))) == [str(number) for number in range(20)]


@pytest.mark.promise("interpreter.tokens")
async def test_a_client_that_shows_the_token_alone_is_served(shared_interpreter: Interpreter) -> None:
    by_host = {"Host": f"49999-{shared_interpreter.sandbox.sandbox_id}.sandbox.local", "X-Access-Token": shared_interpreter.token}
    assert await result(shared_interpreter, "1 + 1", headers=by_host) == "2"
    async with shared_interpreter.client(by_host) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/contexts")).json() == []
        made = (await client.post("/contexts", json={"language": "python"})).json()
        assert made["cwd"] == "/home/user"
        assert (await client.post(f"/contexts/{made['id']}/restart")).status_code == 200
        assert (await client.delete(f"/contexts/{made['id']}")).status_code == 200


@pytest.mark.promise("interpreter.bad_requests", "interpreter.contexts")
@pytest.mark.parametrize(
    "case",
    [
        ("POST", "/execute", b"{", 400, "not JSON"),
        ("POST", "/execute", b"[1]", 400, "not a JSON object"),
        ("POST", "/execute", b"[" * 100_000, 400, "not JSON"),
        ("POST", "/execute", b"\xff\xfe\xfd", 400, "not JSON"),
        ("POST", "/execute", b"{}", 400, "`code` has to be a string"),
        ("POST", "/execute", b'{"code": "1", "context_id": "default", "language": "python"}', 400, "Only one of"),
        ("POST", "/execute", b'{"code": "1", "context_id": "none-such"}', 404, "Context none-such not found"),
        ("POST", "/execute", b'{"code": "1", "context_id": 1}', 400, "`context_id`"),
        ("POST", "/execute", b'{"code": "1", "env_vars": {"A=B": "1"}}', 400, "no variable"),
        ("POST", "/execute", b'{"code": "1", "env_vars": {"A": 1}}', 400, "no variable"),
        ("POST", "/execute", b'{"code": "1", "language": "cobol"}', 400, "No kernel for the language 'cobol'"),
        ("POST", "/contexts", b'{"cwd": "/etc/passwd"}', 400, "is not there"),
        ("POST", "/contexts", b'{"cwd": "\\u0000"}', 400, "zero byte"),
        ("DELETE", "/contexts/default", b"", 400, "cannot be removed"),
        ("DELETE", "/contexts/..%2f..%2fetc", b"", 404, "not found"),
        ("GET", "/execute", b"", 405, ""),
        ("GET", "/api/kernels", b"", 404, ""),
    ],
)
async def test_what_is_no_request_is_refused(shared_interpreter: Interpreter, case: tuple[str, str, bytes, int, str]) -> None:
    method, path, body, status, text = case
    async with shared_interpreter.client() as client:
        reply = await client.request(method, path, content=body)
        assert (reply.status_code, text in reply.text) == (status, True), reply.text
        assert "Traceback" not in reply.text
        assert (await client.get("/health")).status_code == 200


@pytest.mark.promise("interpreter.bad_requests")
async def test_made_up_requests_do_no_harm(shared_interpreter: Interpreter) -> None:
    address = shared_interpreter.platform.sandbox_url

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(path=st.sampled_from(["/execute", "/contexts/x/restart", "/contexts/"]), body=BODIES)
    def refuse(path: str, body: dict[str, Any]) -> None:
        with httpx.Client(base_url=address, headers=dict(shared_interpreter.headers), timeout=60, trust_env=False) as client:
            reply = client.post(path, content=json.dumps(body if path != "/contexts/" else {"language": [body]}))
        assert reply.status_code in (400, 404)

    await anyio.to_thread.run_sync(refuse)
    assert [line["type"] async for line in shared_interpreter.lines("1")][-1] == "end_of_execution"


@pytest.mark.promise("interpreter.bad_requests")
async def test_a_body_that_is_too_large_is_refused_and_a_large_one_is_not(shared_interpreter: Interpreter) -> None:
    assert await result(shared_interpreter, "x = '" + "y" * 8_000_000 + "'\nlen(x)") == "8000000"
    url = httpx.URL(shared_interpreter.platform.sandbox_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    named = "".join(f"{name}: {value}\r\n" for name, value in shared_interpreter.headers.items())
    writer.write(f"POST /execute HTTP/1.1\r\nHost: localhost\r\n{named}Content-Length: {1 << 40}\r\n\r\n{{".encode())
    async with asyncio.timeout(30):
        head = await reader.readline()
    writer.close()
    assert int(head.split()[1]) in (400, 413, 502), head
    assert [line["type"] async for line in shared_interpreter.lines("1")][-1] == "end_of_execution"


@pytest.mark.promise("interpreter.template")
async def test_every_owner_has_the_same_template(interpreters: Platform) -> None:
    found = (await interpreters.api.get("/templates/code-interpreter-v1")).json()
    assert (found["public"], found["buildStatus"]) == (True, "ready")
