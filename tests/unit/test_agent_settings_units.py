"""Settings, limiter and collector, by themselves."""

from __future__ import annotations

import pytest

from ppio_sandbox.agent_runtime import AgentRuntimeApp, RuntimeConfig, ValidationError
from ppio_sandbox.agent_runtime.runtime.limiter import RateLimiter
from ppio_sandbox.agent_runtime.runtime.metrics import MetricsCollector
from ppio_sandbox.agent_runtime.runtime.settings import settled


@pytest.mark.promise("agent.settings")
def test_the_environment_fills_what_was_not_set() -> None:
    environment = {"PPIO_AGENT_HOST": "h", "PPIO_AGENT_PORT": "9", "PPIO_AGENT_DEBUG": "true", "PPIO_AGENT_TIMEOUT": "7"}
    found = settled(RuntimeConfig(port=1), environment)
    assert (found.host, found.port, found.debug, found.timeout) == ("h", 1, True, 7)
    assert settled(found, {"PPIO_AGENT_HOST": "other"}) == found
    assert settled(None, {"PPIO_AGENT_HOST": ""}) == RuntimeConfig()


@pytest.mark.promise("agent.settings")
@pytest.mark.parametrize("variable", ["PPIO_AGENT_PORT", "PPIO_AGENT_DEBUG", "PPIO_AGENT_TIMEOUT"])
def test_a_bad_variable_is_named(variable: str) -> None:
    with pytest.raises(ValidationError, match=f"{variable}='x!'"):
        settled(None, {variable: "x!"})


@pytest.mark.promise("agent.settings")
def test_debug_is_an_explicit_argument() -> None:
    config = RuntimeConfig(port=1)
    assert AgentRuntimeApp(config).config == config
    assert AgentRuntimeApp(config, debug=True).config == RuntimeConfig(port=1, debug=True)
    assert config.debug is False


@pytest.mark.promise("agent.limiter")
def test_so_many_requests_are_admitted_in_any_window() -> None:
    now = 100.0
    limiter = RateLimiter(2, 10, clock=lambda: now)
    assert (limiter.max_requests, limiter.window_seconds) == (2, 10)
    assert [limiter.admit("a"), limiter.admit("b")] == [0, 0]
    now = 104.0
    assert [limiter.admit("a"), limiter.admit("a"), limiter.admit("b")] == [0, 6, 0]
    now = 110.0
    assert [limiter.admit("a"), limiter.admit("a")] == [0, 4]


@pytest.mark.promise("agent.limiter")
def test_callers_that_stay_away_are_forgotten() -> None:
    now = 0.0
    limiter = RateLimiter(1, 10, clock=lambda: now)
    for number in range(10_000):
        limiter.admit(str(number))
    now = 10.0
    limiter.admit("new")
    assert list(limiter.requests) == ["new"]


@pytest.mark.promise("agent.collector")
def test_a_collector_counts() -> None:
    collector = MetricsCollector()
    collector.record_request(0.2, "success")
    collector.record_request(400.0, "error")
    assert (collector.request_count, collector.error_count, list(collector.response_times)) == (2, 1, [0.2, 400.0])
    text = collector.text({"agent_own": ("Own.", 3)}).decode()
    assert 'agent_invocation_duration_seconds_bucket{le="0.1"} 0\n' in text
    assert 'agent_invocation_duration_seconds_bucket{le="0.25"} 1\n' in text
    assert 'agent_invocation_duration_seconds_bucket{le="300.0"} 1\n' in text
    assert 'agent_invocation_duration_seconds_bucket{le="+Inf"} 2\n' in text
    assert text.endswith("# TYPE agent_own gauge\nagent_own 3\n")
