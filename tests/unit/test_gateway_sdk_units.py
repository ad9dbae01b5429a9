"""The SDK's pure parts: no answer makes it fail otherwise than typed, bodies keep what they are given, streams may be cut anywhere."""

from __future__ import annotations

import inspect
import json
import os
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sdk
from gateway_sdk import AsyncGatewayClient, CallStatus, GatewayClient, GatewayError, PrefabCall, PrefabResult, faults, requests
from gateway_sdk.events import Reading
from gateway_sdk.places import find_base_url
from gateway_sdk.transfers import Upload
from sandkit.http.messages import Reply
from sandkit.http.proxies import Proxies
from sandkit.wire.gateway import STATUS, Refusal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECT = st.dictionaries(st.text(min_size=1), JSON, max_size=5)
URLS = st.lists(st.text(string.ascii_letters + "/-._", min_size=1).map("s3://bucket/".__add__), max_size=3)


@pytest.mark.promise("gateway-sdk.bodies")
@given(OBJECT, st.dictionaries(st.text(min_size=1, max_size=8), URLS, max_size=3), st.text(min_size=1), st.booleans())
def test_a_body_keeps_what_it_is_given(parameters: dict[str, Any], files: dict[str, list[str]], name: str, streamed: bool) -> None:
    call = PrefabCall("p", "1.0.0", name, parameters, files)
    wanted = requests.stream(call, key=None) if streamed else requests.run([call], key=None)
    assert isinstance(wanted.request.body, bytes)
    [sent] = json.loads(wanted.request.body)["calls"]
    assert sent["function_name"] == name
    assert sent["inputs"]["parameters"] == parameters
    assert sent["inputs"].get("files", {}) == files


@pytest.mark.promise("gateway-sdk.errors")
@given(
    st.sampled_from(sorted(STATUS)), st.text(max_size=50), st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), JSON, max_size=4)
)
def test_each_refusal_of_the_gateway_comes_out_as_it_went_in(code: str, message: str, details: dict[str, Any]) -> None:
    for name in ("error_code", "message", "request_id", "code", "self"):
        details.pop(name, None)
    refusal = Refusal(code, message, **details)
    error = faults.from_reply(Reply(refusal.status, {}, json.dumps(refusal.body("req-1")).encode()), {})
    assert (error.error_code, error.request_id, error.status_code) == (code, "req-1", refusal.status)
    assert error.message == (faults.scrubbed(message) or f"HTTP {refusal.status}")
    told = {name: value for name, value in error.details.items() if name != "error_code"}
    assert told == {name: faults.scrubbed(value) if isinstance(value, str) else value for name, value in details.items()}
    assert type(error) is not GatewayError or code not in faults.CLASS_OF


@pytest.mark.promise("gateway-sdk.errors")
@given(
    st.integers(300, 599),
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | OBJECT.map(lambda value: json.dumps({"detail": value}).encode()),
    st.dictionaries(st.sampled_from(["retry-after", "x-request-id"]), st.text(max_size=12)),
)
def test_any_answer_makes_an_exception_with_all_its_attributes(status: int, body: bytes, headers: dict[str, str]) -> None:
    error = faults.from_reply(Reply(status, headers, body), {"prefab_id": "p"})
    assert isinstance(error, GatewayError)
    assert str(error)
    for name, member in inspect.getmembers(type(error)):
        if isinstance(member, property):
            getattr(error, name)


@pytest.mark.promise("gateway-sdk.errors")
@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_success_is_read_or_refused_as_unreadable(body: bytes) -> None:
    for wanted in (
        requests.run([PrefabCall("p", "1", "f", {})], key=None),
        requests.convert({}),
        requests.list_prefabs(None),
        requests.upload_url(Upload(Path("x"), 1, "x")),
        requests.presigned("s3://b/k", 60),
        requests.list_files(1, None),
        requests.cleanup("s"),
        requests.get_job("j"),
    ):
        try:
            wanted.read(Reply(200, {}, body))
        except (GatewayError, KeyError, TypeError, ValueError):
            continue  # flows turn the last three into the first


@pytest.mark.promise("gateway-sdk.streams")
@given(st.lists(st.tuples(st.sampled_from(["start", "content", "progress", "file"]), JSON), max_size=6), st.data())
def test_a_stream_may_be_cut_anywhere(events: list[tuple[str, Any]], data: st.DataObject) -> None:
    body = b"".join(b"data: " + json.dumps({"type": kind, "data": value}).encode() + b"\n\n" for kind, value in [*events, ("done", 1)])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    reader = Reading(requests.stream(PrefabCall("p", "1", "f"), key=None))
    found = [event for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True) for event in reader.feed(body[start:end])]
    assert [(event.type, event.data) for event in found] == [*events, ("done", 1)]
    assert reader.ended
    assert reader.finish() == []


@pytest.mark.promise("gateway-sdk.results")
@pytest.mark.parametrize(
    ("output", "result", "files"),
    [
        (None, None, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"result": 5, "a": 1}, 5, {}),
        ({"status": "SUCCESS", "output": {"a": 1}, "files": {"o": ["s3://b/k"]}}, ..., {"o": ["s3://b/k"]}),
        ({"output": {"a": 1}, "status": "SUCCESS", "result": 9}, ..., {}),
        ({"output": 3}, {"output": 3}, {}),
    ],
)
def test_results_are_read_as_decided(output: Any, result: Any, files: dict[str, list[str]]) -> None:
    found = PrefabResult(CallStatus.SUCCESS, output)
    assert found.get_result() == (output if result is ... else result)
    assert found.get_files() == files
    assert found.get("a", "default") == ("default" if output is None or output == {"output": 3} else 1)


@pytest.mark.promise("gateway-sdk.base-url")
def test_the_base_url_is_the_argument_the_variable_or_the_running_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATEWAY_BASE_URL", "SANDYARD_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    client = GatewayClient()
    with pytest.raises(GatewayError, match="pass base_url, set GATEWAY_BASE_URL, or start one"):
        _ = client.base_url
    (tmp_path / "sandyard").mkdir()
    (tmp_path / "sandyard" / "server.json").write_text('{"api_url": "http://127.0.0.1:1", "pid": 1}')
    assert client.base_url == "http://127.0.0.1:1"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "server.json").write_text('{"api_url": "http://127.0.0.1:2"}')
    monkeypatch.setenv("SANDYARD_DATA_DIR", str(tmp_path / "other"))
    assert find_base_url(None) == "http://127.0.0.1:2"
    monkeypatch.setenv("GATEWAY_BASE_URL", "http://host:3/below/")
    assert find_base_url(None) == "http://host:3/below"
    assert find_base_url("https://argument") == "https://argument"
    for wrong in ("ftp://host", "host:80", "http://", "http://host/?token=secret"):
        with pytest.raises(GatewayError, match="no address") as caught:
            find_base_url(wrong)
        assert "secret" not in str(caught.value)
    source = "".join(path.read_text() for path in Path(gateway_sdk.__path__[0]).rglob("*.py"))
    assert "sensedeal" not in source


@pytest.mark.promise("gateway-sdk.light-import")
@pytest.mark.parametrize("made", ["GatewayClient()", "AsyncGatewayClient()", "GatewayClient(api_key='sk-x')"])
def test_nothing_that_sends_is_imported_before_the_first_call(made: str) -> None:
    program = f"import sys, gateway_sdk\nsys.stdout.write(str('asyncio' in sys.modules))\ngateway_sdk.{made}\n"
    program += "print(sorted({'aiohttp', 'urllib3', 'httpx', 'requests', 'pydantic', 'ssl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False[]" or ("Async" in made and done.stdout.startswith("False")), done.stdout


@pytest.mark.promise("gateway-sdk.twins")
def test_both_clients_have_the_same_methods() -> None:
    def faces(kind: type) -> dict[str, list[tuple[str, Any, Any]]]:
        members = {name: member for name, member in inspect.getmembers(kind, callable) if name[0] != "_" or name == "__init__"}
        return {
            name: [(p.name, p.kind, p.default) for p in inspect.signature(member).parameters.values()] for name, member in members.items()
        }

    assert faces(GatewayClient) == faces(AsyncGatewayClient)
    assert hasattr(GatewayClient, "__enter__")
    assert hasattr(AsyncGatewayClient, "__aenter__")


@pytest.mark.promise("gateway-sdk.names")
def test_what_is_exported_is_there_and_exceptions_are_in_both_places() -> None:
    assert gateway_sdk.__all__ == sorted(gateway_sdk.__all__)
    assert {name for name in gateway_sdk.__all__ if not hasattr(gateway_sdk, name)} == set()
    from gateway_sdk import exceptions

    assert {name for name in exceptions.__all__ if getattr(gateway_sdk, name) is not getattr(exceptions, name)} == set()
    with pytest.raises(AttributeError):
        _ = gateway_sdk.no_such_name


@pytest.mark.promise("gateway-sdk.proxies")
def test_proxies_are_what_the_environment_says() -> None:
    found = Proxies.from_environment(
        {"HTTP_PROXY": "http://p:1", "https_proxy": "http://p:2", "NO_PROXY": " localhost ,.Example.com, 10.0.0.1:80"}
    )
    assert found.of("http://host/") == "http://p:1"
    assert found.of("https://host/") == "http://p:2"
    direct = (
        "http://localhost:8800/",
        "http://127.0.0.1/",
        "http://[::1]:1/",
        "http://a.example.com/",
        "http://example.com/",
        "http://10.0.0.1/",
    )
    assert {found.of(url) for url in direct} == {None}
    assert found.of("http://127.0.0.2/") == "http://p:1", "of a sandbox that is not loopback but its host's"
    assert Proxies.from_environment({"http_proxy": "http://p:1", "no_proxy": "*"}).of("http://host") is None
    assert Proxies.from_environment({}).of("http://host") is None
    assert Proxies.from_environment() == Proxies.from_environment(os.environ)
