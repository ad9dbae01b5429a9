"""From the caller's request over the body to the agent, and from its value over the envelope back: nothing is lost or added."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ppio_sandbox.agent_runtime import AgentRuntimeApp, InvocationRequest
from ppio_sandbox.agent_runtime.client import invocation
from sandkit.http.messages import Reply
from sandkit.wire.manifest import AgentConfig

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NOTHING: dict[str, st.SearchStrategy[Any]] = {}
REQUESTS = st.fixed_dictionaries(
    NOTHING,
    optional={
        "prompt": TEXT,
        "query": TEXT,
        "data": st.dictionaries(TEXT, VALUES, max_size=3),
        "sandbox_id": TEXT,
        "max_tokens": st.integers(0, 10_000),
        "metadata": st.dictionaries(TEXT, VALUES, max_size=3),
        "user_id": TEXT,
        "own_field": VALUES,
    },
)


def answered(value: Any, body: bytes) -> tuple[Any, Reply]:
    """Return what an agent that returns `value` was asked, and its reply."""
    app = AgentRuntimeApp()
    asked: list[Any] = []
    sent: list[Any] = []

    @app.entrypoint
    async def agent(request: Any) -> Any:
        asked.append(request)
        return value

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
    asyncio.run(app(scope, receive, send))
    head, tail = sent
    headers = {name.decode(): text.decode() for name, text in head["headers"]}
    return asked[0], Reply(head["status"], headers, tail["body"])


@pytest.mark.promise("client.round-trip")
@settings(deadline=None)
@given(fields=REQUESTS, value=VALUES)
def test_requests_and_results_survive_the_way_there_and_back(fields: dict[str, Any], value: Any) -> None:
    body = invocation.body_of(InvocationRequest(**fields))
    assert body == invocation.body_of(fields)
    asked, reply = answered(value, orjson.dumps(body))
    assert asked == body
    assert {name: asked[name] for name in fields} == fields
    assert set(asked) - set(fields) <= {"prompt", "query"}
    response = invocation.response_of(reply, "i1", 1.0)
    assert response.result == value
    assert response["result"] == value
    assert (response.status, response.error) == ("success", None)


NAMES = st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?\Z")
MANIFESTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    NOTHING
    | {
        "metadata": st.fixed_dictionaries(
            NOTHING | {"name": NAMES, "version": TEXT, "author": TEXT}, optional=NOTHING | {"tags": st.lists(TEXT, max_size=3)}
        ),
        "spec": st.fixed_dictionaries(
            NOTHING | {"entrypoint": st.sampled_from(["agent.py", "src/main.py"])},
            optional={
                "runtime": st.fixed_dictionaries(
                    NOTHING,
                    optional={
                        "timeout": st.integers(1, 3600),
                        "memory_limit": st.builds(
                            "{}{}".format, st.integers(1, 4096), st.sampled_from(["", "Ki", "Mi", "Gi", "K", "M", "G"])
                        ),
                        "cpu_limit": st.builds("{}m".format, st.integers(1, 9000)) | st.sampled_from(["1", "0.5"]),
                    },
                )
            },
        ),
    }
)


@pytest.mark.promise("cli.manifest-round-trip")
@settings(deadline=None)
@given(MANIFESTS)
def test_a_manifest_is_read_as_it_was_written(written: dict[str, Any]) -> None:
    manifest = AgentConfig.model_validate(written)
    assert AgentConfig.model_validate(yaml.safe_load(yaml.safe_dump(manifest.as_dict()))) == manifest
    for section, fields in written.items():
        assert manifest.as_dict()[section].items() >= {name: value for name, value in fields.items() if name != "tags"}.items()
