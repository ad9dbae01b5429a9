"""What users import, what it costs, and what is refused before anything is served."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys

import pytest

from ppio_sandbox import agent_runtime
from ppio_sandbox.agent_runtime import AgentRuntimeApp, RuntimeConfig
from sandkit.wire.invocations import InvocationRequest, InvocationResponse, PingStatus

COST = """
import time
began = time.process_time()
import ppio_sandbox.agent_runtime
print(time.process_time() - began)
import sys
print(*(name for name in ("starlette", "uvicorn", "aiohttp", "httpx", "pydantic") if name in sys.modules))
from ppio_sandbox.agent_runtime import AgentRuntimeApp
print(*(name for name in ("starlette", "aiohttp", "httpx", "ppio_sandbox.agent_runtime.client") if name in sys.modules))
"""


@pytest.mark.promise("agent.imports")
def test_the_import_is_light_and_an_agent_never_pays_for_the_client() -> None:
    runs = [subprocess.run([sys.executable, "-c", COST], capture_output=True, text=True, check=True, timeout=60).stdout for _ in range(5)]
    seconds, package, app = zip(*(run.split("\n")[:3] for run in runs), strict=True)
    assert min(map(float, seconds)) < 0.060
    assert set(package) == {""}
    assert set(app) == {""}


@pytest.mark.promise("agent.names")
@pytest.mark.parametrize(
    "face",
    [
        "ppio_sandbox",
        "ppio_sandbox.agent_runtime",
        "ppio_sandbox.agent_runtime.runtime",
        "ppio_agent_runtime",
        "ppio_agent_runtime.exceptions",
        "ppio_agent_runtime.runtime",
        "ppio_agent_sandbox",
    ],
)
def test_every_name_is_there(face: str) -> None:
    module = importlib.import_module(face)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    with pytest.raises(AttributeError):
        _ = module.no_such_name


@pytest.mark.promise("agent.errors")
def test_the_builtins_catch_what_shadows_them() -> None:
    assert issubclass(agent_runtime.RuntimeError, builtins.RuntimeError)
    assert issubclass(agent_runtime.ValidationError, ValueError)
    assert agent_runtime.ValidationError("m", "code").error_code == "code"


@pytest.mark.promise("agent.entrypoint")
def test_an_agent_has_exactly_one_entrypoint() -> None:
    app = AgentRuntimeApp()
    with pytest.raises(builtins.RuntimeError, match="no entrypoint"):
        app.run()
    app.entrypoint(len)
    with pytest.raises(builtins.RuntimeError, match="one entrypoint"):
        app.entrypoint(len)


@pytest.mark.promise("agent.entrypoint")
def test_a_function_that_takes_no_request_is_refused_where_it_stands() -> None:
    with pytest.raises(TypeError, match="takes no request"):
        AgentRuntimeApp().entrypoint(lambda: None)


@pytest.mark.promise("agent.errors")
def test_outside_of_a_request_there_is_no_context() -> None:
    assert AgentRuntimeApp(RuntimeConfig(port=1)).context is None


@pytest.mark.promise("agent.models")
def test_one_request_and_one_response_answer_both_spellings() -> None:
    request = InvocationRequest.model_validate({"session_id": "s", "prompt": "p", "own": 1})
    assert (request.sandbox_id, request.session_id) == ("s", "s")
    assert request.body() == {"sandbox_id": "s", "prompt": "p", "own": 1}
    response = InvocationResponse.model_validate({"result": {"a": 1}, "duration": 0.5, "own": 2})
    assert (response["result"], response.result, response["own"], response.get("none", 3)) == ({"a": 1}, {"a": 1}, 2, 3)
    assert "own" in response
    assert "none" not in response
    with pytest.raises(KeyError):
        _ = response["none"]
    assert PingStatus("healthybusy") is PingStatus.HEALTHY_BUSY
