"""Schemathesis asks our APIs what their OpenAPI documents allow, and what they do not: no answer may be a 500, or one that no document has."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks as conformance

from support.platform import Platform
from support.prefabs import function, manifest, pack, publish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(420)]

_KNOWN: Any = conformance
CHECKS: list[Any] = [_KNOWN.status_code_conformance, _KNOWN.content_type_conformance, _KNOWN.response_schema_conformance]
NOT_IMPLEMENTED = 501  # an honest answer: what E2B's API has and this platform has not
EXAMPLES = 5
"""Requests for each operation, of each kind (as the document allows, and not)."""
SECONDS = 90.0
"""For all operations of a document; those after that are asked once each."""
_PACKED = ("application/zip", "application/gzip", "application/octet-stream")
_SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    derandomize=True,
)
_ONCE = settings(_SETTINGS, max_examples=1)


@schemathesis.serializer(*_PACKED)
def packed(_: object, value: object) -> bytes:
    """Send what stands for a package as it is."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


for media_type in _PACKED:
    schemathesis.openapi.media_type(media_type, st.binary(max_size=500))


@pytest.fixture(scope="module")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """With bounded volumes: what is asked for by chance would be reserved on this machine's disk."""
    async with Platform(tmp_path_factory.mktemp("asked") / "data", "--volume-size", "32Mi") as running:
        yield running


def faults(platform: Platform, document: dict[str, Any]) -> list[str]:
    """Ask everything that a document describes; return what was wrong with the answers."""
    schema: Any = schemathesis.openapi.from_dict(document)
    ends = time.monotonic() + SECONDS
    found: list[str] = []
    with requests.Session() as session:
        session.trust_env = False
        for result in schema.get_all_operations():
            operation = result.ok()
            for mode in schemathesis.GenerationMode:
                found += _ask(platform, operation, mode, session, _SETTINGS if time.monotonic() < ends else _ONCE)
    return found


def _ask(platform: Platform, operation: Any, mode: schemathesis.GenerationMode, session: requests.Session, bounds: settings) -> list[str]:
    found: dict[str, str] = {}

    @seed(20261121)
    @bounds
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        reply = case.call(base_url=platform.api_url, session=session, headers={"X-API-Key": platform.key}, timeout=20)
        if reply.status_code >= 500 and reply.status_code != NOT_IMPLEMENTED:
            found.setdefault(
                f"{reply.status_code}", f"{operation.method} {operation.path}\n  {case.as_curl_command()[:600]}\n  {reply.text[:300]}"
            )
        try:
            case.validate_response(reply, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                key = f"{operation.method.upper()} {operation.path}: {type(failure).__name__} {reply.status_code}"
                found.setdefault(key, f"{key}\n  {failure}\n  {case.as_curl_command()[:600]}\n  {reply.text[:300]}")

    with suppress(Unsatisfiable):  # there is nothing about it that could be wrong
        one()
    return list(found.values())


@pytest.mark.promise("openapi.gateway")
async def test_the_gateway_answers_as_its_document_says(asked: Platform) -> None:
    document = (await asked.api.get("/v1/openapi.json")).json()
    found = await asyncio.to_thread(faults, asked, document)
    assert not found, "\n".join(found)


@pytest.mark.promise("openapi.control")
async def test_the_control_plane_answers_as_its_document_says(asked: Platform) -> None:
    document = (await asked.api.get("/openapi.json")).json()
    found = await asyncio.to_thread(faults, asked, document)
    assert not found, "\n".join(found)


@pytest.mark.promise("openapi.prefab")
async def test_a_prefab_answers_as_its_document_says(abused: Platform) -> None:
    described = {"type": "object", "description": "what", "properties": {"said": {"type": "string", "description": "what was said"}}}
    parameters = [
        {"name": "text", "type": "string", "description": "t", "required": True, "maxLength": 50},
        {"name": "number", "type": "integer", "description": "n", "required": False, "minimum": 0, "maximum": 9},
        {"name": "kind", "type": "string", "description": "k", "required": False, "enum": ["a", "b"]},
        {"name": "words", "type": "array", "description": "w", "required": False, "items": {"type": "string"}},
    ]
    functions = (function("say", returns=described) | {"parameters": parameters}, function("tell", {"upto": "boolean"}, streaming=True))
    source = (
        "def say(text: str, number: int = 1, kind: str = 'a', words: list = ()) -> dict:\n    return {'said': text * number}\n"
        "def tell(upto: bool):\n    yield {'type': 'content', 'data': upto}\n"
    )
    await publish(abused, pack(manifest("typed-one", *functions), source))
    document = (await abused.api.get("/v1/prefabs/typed-one/1.0.0/openapi.json")).json()
    assert document["paths"].keys() == {f"/v1/prefabs/typed-one/1.0.0/functions/{name}" for name in ("say", "tell")}
    found = await asyncio.to_thread(faults, abused, document)
    assert not found, "\n".join(found)
