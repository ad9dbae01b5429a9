"""Bad input at the control plane's door: each answer is E2B's error body with our request id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.packages import pack_members

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = pytest.mark.anyio


def assert_error(reply: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert (body["code"], body["error_code"]) == (status, slug)
    assert body["message"]
    assert body["request_id"] == reply.headers["x-request-id"]
    return body


@pytest.mark.promise("api.errors")
async def test_broken_json_is_400(platform: Platform) -> None:
    reply = await platform.api.post("/sandboxes", content=b'{"templateID": ', headers={"Content-Type": "application/json"})
    assert "JSON" in assert_error(reply, 400, "invalid_request")["message"]


@pytest.mark.promise("api.errors")
@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "templateID"), ({"templateID": "echo", "timeout": 0}, "timeout"), ({"templateID": "echo", "metadata": {"a": 1}}, "metadata.a")],
)
async def test_a_wrong_field_is_400_and_named(platform: Platform, body: dict[str, Any], field: str) -> None:
    error = assert_error(await platform.api.post("/sandboxes", json=body), 400, "invalid_request")
    assert error["details"] == {"field": field}
    assert error["message"].startswith(field)


@pytest.mark.promise("api.errors")
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"envVars": {"A=B": "x"}}, 400, "envVars"),
        ({"envVars": {"A": "x\0y"}}, 400, "envVars"),
        ({"network": {"denyOut": ["not a host"]}}, 400, "network.denyOut"),
        ({"network": {"allowOut": ["not a host"]}}, 400, "network.allowOut"),
        ({"network": {"rules": {"a.test": []}}}, 501, "network.rules"),
        ({"network": {"egressProxy": {"address": "a.test:1080"}}}, 501, "network.egressProxy"),
        ({"network": {"dnsServers": ["9.9.9.9"]}}, 501, "network.dnsServers"),
        ({"network": {"httpsPorts": [49983]}}, 400, "network.httpsPorts"),
        ({"network": {"maskRequestHost": "a\r\nb"}}, 400, "network.maskRequestHost"),
        ({"mcp": {"browserbase": {}}}, 501, "mcp"),
        ({"iam": {"tokens": {"a": {"audience": "b"}}}}, 501, "iam"),
        ({"autoResume": {"enabled": True}, "autoPauseMemory": False}, 400, "autoResume"),
    ],
)
async def test_what_a_sandbox_could_not_be_started_with_is_refused(
    platform: Platform, body: dict[str, Any], status: int, said: str
) -> None:
    reply = await platform.api.post("/sandboxes", json={"templateID": "echo", **body})
    assert said in assert_error(reply, status, "invalid_request" if status == 400 else "not_implemented")["message"]


@pytest.mark.promise("api.errors")
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_oversized_body_is_413(platform: Platform, chunked: bool) -> None:
    body = b'"' + b"x" * (2 * 1024 * 1024) + b'"'

    async def pieces():
        yield body

    reply = await platform.api.post("/sandboxes", content=pieces() if chunked else body)
    assert_error(reply, 413, "too_large")


@pytest.mark.promise("api.errors")
async def test_unknown_things_are_404(platform: Platform) -> None:
    assert_error(await platform.api.get("/nothing/here"), 404, "not_found")
    assert_error(await platform.api.post("/sandboxes", json={"templateID": "no-such"}), 404, "template_not_found")
    assert_error(await platform.api.post("/sandboxes", json={"templateID": "echo:no-such"}), 404, "template_not_found")
    assert_error(await platform.api.get("/templates/no-such"), 404, "template_not_found")
    assert_error(await platform.api.get("/templates/echo/builds/b0/status"), 404, "build_not_found")
    assert_error(await platform.api.get("/sandboxes/s0"), 404, "sandbox_not_found")
    assert_error(await platform.api.delete("/sandboxes/s0"), 404, "sandbox_not_found")


@pytest.mark.promise("api.errors")
async def test_a_wrong_method_is_405(platform: Platform) -> None:
    assert_error(await platform.api.put("/sandboxes"), 405, "method_not_allowed")


@pytest.mark.promise("api.keys")
async def test_without_a_key_or_with_a_wrong_one_everything_is_401(platform: Platform) -> None:
    async with httpx.AsyncClient(base_url=platform.api_url, trust_env=False) as stranger:
        assert (await stranger.get("/health")).status_code == 204
        for headers in ({}, {"X-API-Key": "sk-" + "0" * 40}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic x"}):
            assert_error(await stranger.get("/v2/sandboxes", headers=headers), 401, "unauthenticated")
        for headers in (
            {"X-API-Key": platform.key},
            {"Authorization": f"Bearer {platform.key}"},
            {"X-API-Key": platform.env["E2B_API_KEY"]},
        ):
            assert (await stranger.get("/v2/sandboxes", headers=headers)).status_code == 200


@pytest.mark.promise("api.request-id")
async def test_a_sane_request_id_is_kept_and_an_insane_one_replaced(platform: Platform) -> None:
    kept = await platform.api.get("/v2/sandboxes", headers={"X-Request-Id": "my-request.1"})
    replaced = await platform.api.get("/v2/sandboxes", headers={"X-Request-Id": "no good;" * 5})
    assert kept.headers["x-request-id"] == "my-request.1"
    assert len(replaced.headers["x-request-id"]) == 32


@pytest.mark.promise("api.openapi")
async def test_openapi_describes_our_errors_and_not_the_framework_s(platform: Platform) -> None:
    document = (await platform.api.get("/openapi.json")).json()
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            assert "422" not in operation["responses"], (verb, path)
    assert "ErrorBody" in document["components"]["schemas"]


@pytest.mark.promise("api.errors")
async def test_a_body_that_is_no_package_is_400(platform: Platform) -> None:
    assert_error(await platform.api.post("/agents", content=b"nonsense"), 400, "invalid_package")
    assert_error(await platform.api.post("/agents", content=pack_members({"a.txt": b""})), 400, "invalid_manifest")
    assert_error(await platform.api.post("/agents?tags=not+a+tag", content=b""), 400, "invalid_request")
