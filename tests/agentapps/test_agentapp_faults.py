"""Model servers that fail in each of their ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from agentapps.models import Fault
from agentapps.serving import APPS, CONFIG, message, project, served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from agentapps.models import ModelServer
    from agentapps.serving import Served

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-key-of-a-user"


@pytest.fixture(scope="session")
async def impatient(shared_models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Served]:
    """An app whose model client tries once more, and waits a second for each part of an answer."""
    told = CONFIG + "    client_kwargs: {max_retries: 1, timeout: 1}\nserver: {heartbeat: 0.2}\n"
    directory = project(tmp_path_factory.mktemp("impatient"), APPS / "kitchen.py", told)
    async with served(directory, "--log-level", "debug", MODEL_URL=shared_models.openai, OPENAI_API_KEY=KEY) as app:
        yield app


@pytest.mark.promise("agentapp.model-faults")
async def test_a_model_that_has_had_enough_is_asked_again_when_it_says(impatient: Served, models: ModelServer) -> None:
    models.faults.append(Fault(429, {"retry-after": "1"}))
    began = anyio.current_time()
    assert await impatient.ask("model hi") == "You said: hi"
    assert anyio.current_time() - began >= 1
    models.faults.extend([Fault(429, {"retry-after": "1"}), Fault(429, {"retry-after": "7"})])
    reply = await impatient.post(message("model hi"), accept="application/json")
    assert (reply.status_code, reply.json()["error"]["code"], reply.headers["retry-after"]) == (429, "MODEL_RATE_LIMITED", "7")


@pytest.mark.promise("agentapp.model-faults")
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(Fault(401), 502, "MODEL_ERROR"), (Fault(400), 502, "MODEL_ERROR"), (Fault(kind="stall", after=0), 504, "MODEL_TIMEOUT")],
)
async def test_a_model_that_refuses_or_sleeps_has_a_status_of_its_own(
    fault: Fault, status: int, code: str, impatient: Served, models: ModelServer
) -> None:
    models.faults.extend([fault, fault])
    reply = await impatient.post(message("model hi"), accept="application/json")
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text
    models.faults.clear()
    assert await impatient.ask("model after") == "You said: after"


@pytest.mark.promise("agentapp.model-faults")
@pytest.mark.parametrize("kind", ["cut", "garbage", "stall"])
@pytest.mark.parametrize("verb", ["model", "react", "remembering"])
async def test_a_stream_that_breaks_ends_with_an_error_and_the_session_goes_on(
    kind: str, verb: str, impatient: Served, models: ModelServer
) -> None:
    session = f"{kind}-{verb}"
    models.faults.append(Fault(kind=kind, after=2))
    reply = await impatient.post(message(f"{verb} one two three", session))
    assert reply.status_code == 200
    assert b"You " in reply.content
    assert b"event: error" in reply.content
    assert b'"done":true' not in reply.content
    if kind == "stall":
        assert b"\n:" in reply.content, "heartbeats kept the connection alive"
    models.faults.clear()
    assert await impatient.ask(f"{verb} again", session) == "You said: again"


@pytest.mark.promise("agentapp.secrets")
async def test_the_key_is_in_no_log_line_and_no_error(impatient: Served, models: ModelServer) -> None:
    models.faults.extend([Fault(401), Fault(401)])
    reply = await impatient.post(message(f"fail {KEY}"))
    refused = await impatient.post(message("model hi"))
    await impatient.says("a model failed")
    assert models.headers[-1]["authorization"] == f"Bearer {KEY}"
    assert KEY not in reply.text + refused.text + "".join(impatient.log)
