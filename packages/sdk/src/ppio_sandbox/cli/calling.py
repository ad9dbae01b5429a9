"""`agent invoke`: one call, its answer or its stream on standard output."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, SandboxConfig, SessionNotFoundError
from ppio_sandbox.cli import manifest_file
from ppio_sandbox.cli.output import UsageError, end_of_line, give, give_json, say, typed, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from ppio_sandbox.agent_runtime.client import SandboxSession


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    template: str | None
    text: str | None
    json_input: str | None
    stream: bool
    session: str | None
    keep: bool
    timeout: float | None
    variables: tuple[str, ...]
    as_json: bool


async def invoke(wish: Wish) -> None:
    """Call the agent and print what it answers."""
    request = request_of(wish.text, wish.json_input)
    if wish.session is not None and wish.variables:
        raise UsageError("--env sets the environment of a new session; the one that --session names has its own already")
    async with AgentRuntimeClient() as client, _session(client, wish) as session:
        if wish.stream:
            await _print_stream(session, request, wish)
        else:
            await _print_answer(session, request, wish)


def request_of(text: str | None, json_input: str | None) -> str | dict[str, Any]:
    """Return the request that the options describe.

    Raises:
        UsageError: they describe none, or two, or what is no JSON object.
    """
    if (text is None) == (json_input is None):
        raise UsageError("give the request: a text after the template or as --input TEXT, or else --json-input JSON")
    if text is not None:
        return typed() if text == "-" else text
    assert json_input is not None
    try:
        value = json.loads(typed() if json_input == "-" else json_input)
    except json.JSONDecodeError as error:
        raise UsageError(f"--json-input is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError("--json-input is a JSON object")
    return cast("dict[str, Any]", value)


def variables_of(pairs: Sequence[str]) -> dict[str, str]:
    """Return the variables that `NAME=VALUE` pairs set.

    Raises:
        UsageError: one of them is no such pair.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--env {pair} is not NAME=VALUE")
        found[name] = value
    return found


def target_of(template: str | None) -> str:
    """Return the template to call: the one given, else the one of the manifest here.

    Raises:
        UsageError: there is neither.
    """
    return template or manifest_file.load(manifest_file.find(Path())).target


@asynccontextmanager
async def _session(client: AgentRuntimeClient, wish: Wish) -> AsyncGenerator[SandboxSession]:
    """Give the session that is named, or one for this call; that one is closed after it, unless it is to be kept."""
    if wish.session is not None:
        found = await client.get_session(wish.session)
        if found is None:
            raise SessionNotFoundError(f"there is no session {wish.session}", "sandbox_not_found", sandbox_id=wish.session)
        yield found
        return
    variables = variables_of(wish.variables)
    target = target_of(wish.template)
    with waiting(f"starting a session of {target}"):
        session = await client.create_session(target, config=SandboxConfig(env_vars=variables))
    try:
        yield session
    finally:
        if wish.keep:
            say(f"session {session.sandbox_id} lives on for {session.timeout_seconds} s: call it with --session {session.sandbox_id}")
        else:
            await session.close()


async def _print_answer(session: SandboxSession, request: str | dict[str, Any], wish: Wish) -> None:
    with waiting("waiting for the answer"):
        response = await session.call(request, wish.timeout)
    if wish.as_json:
        give_json({**response.model_dump(mode="json", exclude_none=True), "result": response.result, "sandbox_id": session.sandbox_id})
    elif isinstance(response.result, str):
        give(response.result, end_of_line(response.result))
    else:
        give(json.dumps(response.result, ensure_ascii=False, indent=2))


async def _print_stream(session: SandboxSession, request: str | dict[str, Any], wish: Wish) -> None:
    chunk = ""
    try:
        async with session.stream(request, wish.timeout) as stream:
            async for chunk in stream:
                if wish.as_json:
                    give_json({"chunk": chunk})
                else:
                    give(chunk, end="")
    finally:
        if not wish.as_json:
            give("", end_of_line(chunk))
