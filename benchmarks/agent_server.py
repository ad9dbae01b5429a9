"""The agent's server beside a bare ASGI application on the same uvicorn, and bedrock-agentcore: small JSON, and long streams.

Run `python benchmarks/agent_server.py [--rounds N] [--seconds S]`. One process per server, load from here over raw sockets.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from harness import Subject, bytes_until_close, cpu_seconds, free_port, interleave, post, requests_per_second, served, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

CONNECTIONS = 16
CHUNKS = 1000
STREAMS = 20
QUESTION = b'{"prompt": "hello", "data": {"n": 1}}'
KINDS = ("bare ASGI", "sandyard", "sandyard, plain function", "sandyard, one middleware", "bedrock-agentcore")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=float, default=1.5)
    options.add_argument("--serve", nargs=3, metavar=("KIND", "MODE", "PORT"), help=argparse.SUPPRESS)
    told = options.parse_args()
    if told.serve:
        kind, mode, port = told.serve
        serve(kind, mode, int(port))
        return
    kinds = [kind for kind in KINDS if kind != "bedrock-agentcore" or importlib.util.find_spec("bedrock_agentcore")]
    if len(kinds) < len(KINDS):
        print("bedrock-agentcore is not installed and is left out\n")
    subjects = measured(kinds, "json", partial(_json_figure, seconds=told.seconds), told.rounds)
    print(table(f"small JSON, {CONNECTIONS} connections", "requests/s", subjects, subjects[0]), costs(subjects), sep="\n")
    subjects = measured(kinds, "stream", _stream_figure, told.rounds)
    print(table(f"server-sent events, {CHUNKS:,} chunks a stream", "chunks/s", subjects, subjects[0]), costs(subjects), sep="\n")


def measured(kinds: list[str], mode: str, figure: Callable[[Subject], float], rounds: int) -> list[Subject]:
    with ExitStack() as stack:
        subjects = [Subject(kind, free_port()) for kind in kinds]
        for subject in subjects:
            subject.pid = stack.enter_context(served([__file__, "--serve", subject.name, mode, str(subject.port)], subject.port))
        interleave(subjects, figure, rounds)
    return subjects


def _json_figure(subject: Subject, seconds: float) -> float:
    before = cpu_seconds(subject.pid)
    rate = requests_per_second(subject.port, post("/invocations", QUESTION), CONNECTIONS, seconds)
    subject.costs.append((cpu_seconds(subject.pid) - before) / (rate * seconds) * 1e6)
    return rate


def _stream_figure(subject: Subject) -> float:
    total = 0.0
    before = cpu_seconds(subject.pid)
    for _ in range(STREAMS):
        seconds, reply = bytes_until_close(subject.port, post("/invocations", QUESTION))
        if reply.count(b"data: ") != CHUNKS:
            raise RuntimeError(f"{subject.name} sent {reply.count(b'data: ')} chunks")
        total += seconds
    subject.costs.append((cpu_seconds(subject.pid) - before) / (CHUNKS * STREAMS) * 1e6)
    return CHUNKS * STREAMS / total


def costs(subjects: list[Subject]) -> str:
    """Return a line with the server's CPU time for one request or chunk, and what the first subject's is of it."""
    medians = {subject.name: statistics.median(subject.costs) for subject in subjects}
    base = medians[subjects[0].name]
    return "CPU time: " + ", ".join(f"{name} {cost:.2f} us ({base / cost:.2f})" for name, cost in medians.items()) + "\n"


def serve(kind: str, mode: str, port: int) -> None:
    if kind == "bare ASGI":
        import uvicorn

        app = bare_echo if mode == "json" else bare_stream
        uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False)
    elif kind == "bedrock-agentcore":
        from bedrock_agentcore import BedrockAgentCoreApp

        app: Any = BedrockAgentCoreApp()
        app.entrypoint(echo if mode == "json" else stream)
        app.run(port=port, log_level="warning", access_log=False)
    else:
        serve_ours(kind, mode, port)


def serve_ours(kind: str, mode: str, port: int) -> None:
    from ppio_sandbox.agent_runtime import AgentRuntimeApp

    app = AgentRuntimeApp()
    plain = "plain" in kind
    app.entrypoint((plain_echo if plain else echo) if mode == "json" else (plain_stream if plain else stream))
    if "middleware" in kind:
        app.middleware(pass_through)
    app.run(port=port, host="127.0.0.1")


async def pass_through(request: Any, call_next: Any) -> Any:
    return await call_next(request)


async def echo(request: Any) -> dict[str, Any]:
    return {"echo": request}


def plain_echo(request: Any) -> dict[str, Any]:
    return {"echo": request}


async def stream(_request: Any) -> AsyncIterator[dict[str, Any]]:
    for number in range(CHUNKS):
        yield {"token": "hello", "number": number}


def plain_stream(_request: Any) -> Iterator[dict[str, Any]]:
    for number in range(CHUNKS):
        yield {"token": "hello", "number": number}


async def bare_echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    message = await receive()
    body = orjson.dumps({"echo": orjson.loads(message["body"])})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def bare_stream(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for number in range(CHUNKS):
        frame = b"data: " + orjson.dumps({"token": "hello", "number": number}) + b"\n\n"
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    await send({"type": "http.response.body"})


if __name__ == "__main__":
    sys.exit(main())
