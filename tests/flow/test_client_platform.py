"""The client and the command line with the real platform: from a directory to a session, its calls, its pauses, its end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ppio_sandbox import AsyncSandbox, Sandbox
from ppio_sandbox.agent_runtime.client import (
    AgentRuntimeClient,
    AuthenticationError,
    ClientConfig,
    InvocationError,
    NetworkError,
    SandboxSession,
    SessionNotFoundError,
    SessionStatus,
    SyncAgentRuntimeClient,
    SyncSandboxSession,
    TemplateNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from e2b import ApiParams

    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

AGENT = """\
import asyncio
import os

from starlette.responses import JSONResponse

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()
calls = 0


async def endless():
    while True:
        yield "tick"
        await asyncio.sleep(0.01)


async def dying():
    yield "one"
    print("my last words", flush=True)
    os._exit(4)


@app.entrypoint
async def answer(request: dict):
    global calls
    calls += 1
    match request["prompt"]:
        case "endless":
            return endless()
        case "die":
            print("my last words", flush=True)
            os._exit(3)
        case "die in the stream":
            return dying()
        case "wait":
            await asyncio.Event().wait()
        case "pass on":
            told = {"error_code": "sandbox_not_found", "message": "The sandbox was not found", "request_id": "another"}
            return JSONResponse(told, 404)
        case "fail":
            raise ValueError("I do not want to")
    return {"calls": calls, "seen": request, "environment": dict(os.environ)}


if __name__ == "__main__":
    app.run()
"""


async def cli(platform: Platform, *arguments: str, here: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("ppio-sandbox-cli")),
        "agent",
        *arguments,
        cwd=here,
        env={**os.environ, **platform.env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(100):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture(scope="module")
async def template(process_platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The agent above, deployed by the command line."""
    here = tmp_path_factory.mktemp("agents")
    (here / "agent.py").write_text(AGENT)
    code, _, err = await cli(process_platform, "init", "--name", "subject", here=here)
    assert code == 0, err
    code, out, err = await cli(process_platform, "deploy", "--json", here=here)
    assert (code, json.loads(out)["phase"]) == (0, "deployed"), err
    return json.loads(out)["template_id"]


@pytest.fixture
async def client(process_platform: Platform) -> AsyncGenerator[AgentRuntimeClient]:
    config = ClientConfig(sandbox_url=process_platform.sandbox_url)
    async with AgentRuntimeClient(process_platform.key, process_platform.api_url, config=config) as made:
        yield made
        await made.close_all_sessions()


@pytest.fixture
async def session(client: AgentRuntimeClient, template: str) -> SandboxSession:
    return await client.create_session(template, timeout_seconds=120)


@pytest.mark.promise("client.pause-resume", "client.status", "client.close")
async def test_a_session_from_its_start_to_its_end(session: SandboxSession) -> None:
    first = await session.invoke("hello")
    assert (first["result"]["calls"], first.result["seen"]) == (1, {"prompt": "hello", "query": "hello"})
    await session.pause()
    assert await session.get_status() is SessionStatus.PAUSED
    with pytest.raises(InvocationError, match="paused"):
        await session.invoke("hello")
    await session.resume()
    assert await session.get_status() is SessionStatus.ACTIVE
    assert (await session.invoke({"query": "again"})).result["calls"] == 2
    await session.refresh()
    await session.close()
    assert await session.get_status() is SessionStatus.CLOSED
    with pytest.raises(SessionNotFoundError):
        await session.invoke("hello")


@pytest.mark.promise("client.invoke")
async def test_the_platforms_key_is_nowhere_in_the_sandbox(process_platform: Platform, session: SandboxSession) -> None:
    answer = await session.invoke("hello")
    assert process_platform.key.removeprefix("sk-") not in json.dumps(answer.result)


@pytest.mark.promise("client.leaving-cancels")
async def test_a_stream_is_left_and_the_agent_answers_on(session: SandboxSession) -> None:
    async for chunk in session.invoke("endless", stream=True):
        assert chunk == "tick"
        break
    assert (await session.invoke("hello")).result["calls"] == 2


@pytest.mark.promise("client.agent-errors")
async def test_an_agent_that_fails_and_one_that_dies_say_why(session: SandboxSession) -> None:
    with pytest.raises(InvocationError, match="I do not want to") as failed:
        await session.invoke("fail")
    assert failed.value.request_id
    with pytest.raises(InvocationError) as died:
        await session.invoke("die")
    assert (died.value.error_code, died.value.exit_code) == ("agent_crashed", 3)
    assert "my last words" in died.value.output
    assert await session.get_status() is SessionStatus.ERROR


@pytest.mark.promise("client.cut-says-why")
async def test_a_death_in_the_stream_says_how(session: SandboxSession) -> None:
    stream = await session.invoke("die in the stream", stream=True)
    assert await anext(stream) == "one"
    with pytest.raises(NetworkError) as caught:
        await anext(stream)
    assert caught.value.exit_code == 4
    assert "my last words" in caught.value.output


@pytest.mark.promise("client.find")
async def test_a_session_is_found_from_elsewhere(process_platform: Platform, session: SandboxSession) -> None:
    config = ClientConfig(sandbox_url=process_platform.sandbox_url)
    async with AgentRuntimeClient(process_platform.key, process_platform.api_url, config=config) as other:
        found = await other.get_session(session.sandbox_id)
        assert found is not None
        assert (await found.invoke("hello")).result["calls"] == 1
        (listed,) = [one for one in await other.list_sessions() if one.sandbox_id == session.sandbox_id]
        assert (await listed.invoke("hello")).result["calls"] == 2
        assert await other.get_session("s0000") is None


@pytest.mark.promise("client.any-sandbox")
async def test_our_sandbox_object_is_a_sessions(process_platform: Platform, client: AgentRuntimeClient, template: str) -> None:
    """`ppio_sandbox.Sandbox` on a platform whose domain no name server knows: its calls go where its configuration says."""
    where: ApiParams = {
        "api_key": process_platform.key,
        "api_url": process_platform.api_url,
        "sandbox_url": process_platform.sandbox_url,
        "domain": process_platform.domain,
    }
    made_by = (await AsyncSandbox.create(template, **where), await asyncio.to_thread(lambda: Sandbox.create(template, **where)))
    for made in made_by:
        session = SandboxSession(template, made, client)
        assert session.host_url == f"http://8080-{made.sandbox_id}.{process_platform.domain}"
        assert (await session.invoke("hello")).result["calls"] == 1
        await session.pause()
        assert await session.get_status() is SessionStatus.PAUSED
        await session.resume()
        assert [chunk async for chunk in session.invoke("hello", stream=True)]
        await session.close()
        assert await client.get_session(made.sandbox_id) is None

    def script() -> object:
        plain = SyncAgentRuntimeClient(process_platform.key, process_platform.api_url)
        with plain, SyncSandboxSession(template, Sandbox.create(template, **where), plain) as session:
            return session.invoke("hello").result["calls"]

    assert await asyncio.to_thread(script) == 1


@pytest.mark.promise("client.request-ids")
async def test_the_agents_log_and_the_error_name_the_same_request(client: AgentRuntimeClient, session: SandboxSession) -> None:
    with pytest.raises(InvocationError) as failed:
        await session.invoke({"prompt": "fail", "request_id": "order-66"})
    with pytest.raises(InvocationError) as late:
        await session.call("wait", timeout=0.2)
    assert failed.value.request_id == "order-66"
    with pytest.raises(InvocationError) as died:
        await session.invoke("die")
    assert '"requestId":"order-66"' in died.value.output
    assert late.value.request_id


@pytest.mark.promise("client.agent-errors")
async def test_what_the_agent_was_told_by_a_platform_is_not_this_sessions_end(session: SandboxSession) -> None:
    with pytest.raises(InvocationError) as caught:
        await session.invoke("pass on")
    assert caught.value.error_code == "agent_failed"
    assert (await session.invoke("hello")).result["calls"] == 2


@pytest.mark.promise("client.one-shot")
async def test_sessions_of_single_calls_are_closed(client: AgentRuntimeClient, template: str) -> None:
    before = {session.sandbox_id for session in await client.list_sessions()}
    assert (await client.invoke_agent("subject", "hello")).result["calls"] == 1
    async for _ in client.invoke_agent_stream(template, "hello"):
        pass
    assert {session.sandbox_id for session in await client.list_sessions()} == before


@pytest.mark.promise("client.templates", "client.create-errors", "client.key")
async def test_templates_and_what_is_not_there(process_platform: Platform, client: AgentRuntimeClient, template: str) -> None:
    assert template in [found.template_id for found in await client.list_templates(name_filter="subj")]
    assert (await client.get_template("subject")).status == "deployed"
    with pytest.raises(TemplateNotFoundError):
        await client.create_session("no-such-agent")
    async with AgentRuntimeClient("sk-wrong", process_platform.api_url) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.list_templates()


@pytest.mark.promise("cli.invoke", "cli.logs", "cli.deploy-fails")
async def test_the_command_line(process_platform: Platform, template: str, tmp_path: Path) -> None:
    code, out, _ = await cli(process_platform, "invoke", template, "hello", "--json", "--keep", here=tmp_path)
    called = json.loads(out)
    assert (code, called["result"]["calls"]) == (0, 1)
    code, out, _ = await cli(process_platform, "logs", called["sandbox_id"], here=tmp_path)
    assert (code, "listens" in out) == (0, True)
    await cli(process_platform, "init", "--name", "broken", here=tmp_path)
    (tmp_path / "agent.py").write_text("raise SystemExit('I will not start')\n")
    code, out, err = await cli(process_platform, "deploy", "--json", here=tmp_path)
    assert (code, json.loads(out)["phase"]) == (5, "failed")
    assert "I will not start" in err
