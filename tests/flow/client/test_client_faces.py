"""Who is calling, where the platform is, and what can be started there: `AuthManager`, addresses, `TemplateManager`."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from ppio_sandbox.agent_runtime.client import (
    AgentRuntimeClient,
    AuthenticationError,
    AuthManager,
    ClientConfig,
    Sandbox,
    TemplateManager,
    TemplateNotFoundError,
    ValidationError,
)
from support.fake_platform import (
    ENVELOPE,
    TEMPLATE_ID,
    FakePlatform,
    answers,
    refused,
    template,
)

pytestmark = pytest.mark.anyio

# --- credentials and addresses


@pytest.mark.promise("client.key")
def test_without_a_key_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PPIO_API_KEY", raising=False)
    with pytest.raises(AuthenticationError, match=re.escape('eval "$(sandyard env)"')):
        AgentRuntimeClient()
    with pytest.raises(AuthenticationError, match=r"^API Key is required"):
        AuthManager()


@pytest.mark.promise("client.key-format")
@pytest.mark.parametrize("key", ["1234567", " ", "\n \t", "sk-with a space", "sk-ключик"])
def test_what_can_be_no_key_is_refused_and_the_old_one_stays(key: str):
    with pytest.raises(AuthenticationError, match=r"^Invalid API Key format"):
        AuthManager(key)
    auth = AuthManager("sk-argument")
    with pytest.raises(AuthenticationError, match=r"^Invalid API Key format"):
        auth.update_api_key(key)
    with pytest.raises(AuthenticationError, match=r"^API Key is required"):
        auth.update_api_key("")
    assert auth.api_key == "sk-argument"
    assert auth.validate_credentials() is True


@pytest.mark.promise("client.key")
def test_the_key_comes_from_the_argument_or_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PPIO_API_KEY", "sk-environment")
    assert AuthManager().api_key == "sk-environment"
    auth = AuthManager("sk-argument")
    assert auth.api_key == "sk-argument"
    assert "argument" not in repr(auth)


@pytest.mark.promise("client.auth-headers")
async def test_the_headers_are_the_callers_own_and_can_be_awaited():
    auth = AuthManager("sk-argument")
    headers = auth.get_auth_headers()
    assert headers == {"Authorization": "Bearer sk-argument", "Content-Type": "application/json"}
    headers.clear()
    assert await auth.get_auth_headers() == {"Authorization": "Bearer sk-argument", "Content-Type": "application/json"}
    auth.update_api_key("sk-another")
    await auth.refresh_token()
    assert auth.get_auth_headers()["Authorization"] == "Bearer sk-another"


@pytest.mark.promise("client.key-format")
async def test_a_renewed_key_is_the_one_that_is_sent(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("GET /templates", answers([]))
    client.auth_manager.update_api_key("sk-another")
    await client.list_templates()
    assert platform.seen[-1].headers["authorization"] == "Bearer sk-another"


@pytest.mark.promise("client.addresses")
async def test_addresses_come_from_the_environment(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch):
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    platform.on("POST /invocations", answers(ENVELOPE))
    async with AgentRuntimeClient() as client:
        assert (await client.invoke_agent("hello", "hi")).result == "hello"


@pytest.mark.promise("client.addresses")
def test_the_ingress_is_found_beside_the_platform(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PPIO_SANDBOX_URL", raising=False)
    client = AgentRuntimeClient("sk-testing", "http://127.0.0.1:8800/")
    here = Sandbox("i1", client.platform.addresses)
    assert (here.url(), here.get_host(8080)) == ("http://127.0.0.1:8801", "8080-i1.localhost:8801")
    named = Sandbox("i1", client.platform.addresses, domain="box.example")
    assert (named.url(), named.get_host(80)) == ("http://8080-i1.box.example", "80-i1.box.example")
    with pytest.raises(ValidationError, match="is no address of a platform"):
        AgentRuntimeClient("sk-testing", "platform.example")


# --- templates


@pytest.mark.promise("client.templates")
async def test_templates_are_listed_and_filtered(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("GET /templates", answers([template("hello", tags=("ai",)), template("Chatty", tags=("chat", "x")), template("plain")]))
    assert [found.name for found in await client.list_templates()] == ["hello", "Chatty", "plain"]
    assert [found.name for found in await client.list_templates(tags=["ai", "chat"])] == ["hello", "Chatty"]
    assert [found.name for found in await client.list_templates(name_filter="chat")] == ["Chatty"]


@pytest.mark.promise("client.templates")
async def test_a_template_tells_what_its_manifest_says(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("GET /templates/hello", answers(template()))
    found = await client.get_template("hello")
    assert (found.template_id, found.version, found.author, found.status) == (TEMPLATE_ID, "1.0.0", "a@example.com", "deployed")
    assert (found.size, found.build_time, found.runtime_info) == (1234, 1.5, {"timeout": 30})
    assert found.updated_at - found.created_at == timedelta(days=1)
    assert found.metadata["agent"]["spec"]["entrypoint"] == "agent.py"
    assert await client.template_manager.template_exists("hello")


@pytest.mark.promise("client.templates")
async def test_an_unknown_template_is_not_found(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch):
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    platform.on("GET /templates/none", refused(404, "template_not_found"))
    manager = TemplateManager(AuthManager())
    with pytest.raises(TemplateNotFoundError, match="Template none not found"):
        await manager.get_template("none")
    assert not await manager.template_exists("none")
    await manager.aclose()


@pytest.mark.promise("client.template-cache")
async def test_templates_are_kept_only_where_that_is_asked_for(platform: FakePlatform, client: AgentRuntimeClient):
    platform.on("GET /templates", answers([template("hello"), template("other")]))
    assert [len(await client.list_templates()) for _ in range(2)] == [2, 2]
    assert len(platform.asked("GET /templates")) == 2


@pytest.mark.promise("client.template-cache")
@pytest.mark.parametrize(("cache_ttl", "asked"), [(300, 2), (0, 5)])
async def test_kept_templates_are_fresh_for_a_while(platform: FakePlatform, cache_ttl: int, asked: int):
    platform.on("GET /templates", answers([template("hello"), template("other")]))
    platform.on("GET /templates/hello", answers(template("hello")))
    platform.on("GET /templates/unknown", refused(404, "template_not_found"))
    config = ClientConfig(enable_cache=True, cache_ttl=cache_ttl)
    async with AgentRuntimeClient("sk-testing", platform.url, config=config) as client:
        (await client.list_templates()).clear()
        assert len(await client.list_templates()) == 2
        assert [one.name for one in await client.list_templates(name_filter="oth")] == ["other"]
        assert (await client.get_template("hello")).name == "hello"
        assert len(await client.list_templates(refresh=True)) == 2
        with pytest.raises(TemplateNotFoundError):
            await client.get_template("unknown")
    assert len([one for one in platform.seen if one.path != "/templates/unknown"]) == asked
