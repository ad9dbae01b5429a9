"""Who is calling the gateway: every credential against the running server (cases 1 to 26 of the contract)."""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from sandyard.services.keys import spelled
from support.callers import Issuer, agent, claims, minted, new_key, signed_raw, signing_key
from support.platform import Platform
from support.platform import run as command

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

LIST = "/v1/prefabs"


@pytest.fixture(scope="module")
async def issuer() -> AsyncGenerator[Issuer]:
    async with Issuer().serving() as serving:
        yield serving


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncGenerator[Platform]:
    """A server that trusts an issuer and a proxy, and lists addresses that nobody here has."""
    options = ("--jwt-issuer", "https://issuer.test", "--jwt-audience", "the-gateway", "--jwt-jwks", issuer.url, "--jwt-cache", "0.2")
    listed = ("--allow-address", "10.0.0.0/24", "--allow-address", "2001:db8::/32", "--trusted-proxy", "127.0.0.1")
    async with Platform(tmp_path_factory.mktemp("identity") / "data", *options, *listed, "--auth-failures", "100000") as running:
        yield running


async def ask(platform: Platform, headers: Any = None, *, path: str = LIST, method: str = "GET", **options: Any) -> httpx.Response:
    """Send a request with these credentials and no other."""
    async with httpx.AsyncClient(base_url=platform.api_url, timeout=30, trust_env=False) as client:
        return await client.request(method, path, headers=headers or {}, **options)


def refused(reply: httpx.Response, status: int = 401, code: str = "UNAUTHENTICATED") -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    detail = reply.json()["detail"]
    assert detail["error_code"] == code
    if status == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
    return detail


@pytest.mark.promise("gateway-identity.1")
async def test_without_a_credential_nobody_is_known(server: Platform) -> None:
    refused(await ask(server))
    refused(await ask(server, {"Authorization": "Basic YTpi"}))


@pytest.mark.promise("gateway-identity.precedence")
async def test_each_credential_is_known(server: Platform, issuer: Issuer) -> None:
    token = minted(server)
    for headers in (
        {"X-Internal-Token": token},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer {server.key}"},
        {"X-API-Key": server.key},
        {"X-API-Key": "e2b_" + server.key.removeprefix("sk-")},
        {"Authorization": f"Bearer {issuer.token()}"},
        {"X-Internal-Token": token, "X-API-Key": server.key},
        {"X-Forwarded-For": "10.0.0.5"},
    ):
        assert (await ask(server, headers)).status_code == 200, headers


@pytest.mark.promise("store.keys_form")
async def test_a_key_that_was_cut_is_told_as_such(server: Platform) -> None:
    mistyped = server.key[:-1] + ("0" if server.key[-1] != "0" else "1")
    for path in (LIST, "/templates"):
        said = {key: (await ask(server, {"X-API-Key": key}, path=path)).text for key in (server.key[:-1], mistyped, "sk-" + "0" * 40)}
        assert [("cut or mistyped" in text, "unknown or revoked" in text) for text in said.values()] == [(True, False)] * 2 + [
            (False, True)
        ]


@pytest.mark.promise("gateway-identity.2")
@pytest.mark.parametrize("name", ["X-Internal-Token", "X-API-Key", "Authorization"])
async def test_an_invalid_credential_never_falls_through(server: Platform, name: str) -> None:
    for value in ("x", "sk-" + "0" * 40, "Bearer x", "Bearer sk-" + "0" * 40):
        refused(await ask(server, {name: value, "X-Forwarded-For": "10.0.0.5"}))
        other = {"X-API-Key": server.key} if name != "X-API-Key" else {"X-Internal-Token": minted(server)}
        refused(await ask(server, {name: value, **other}))


@pytest.mark.promise("gateway-identity.3-4")
async def test_algorithms_are_pinned(server: Platform, issuer: Issuer) -> None:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    body = base64.urlsafe_b64encode(json.dumps(claims()).encode()).decode().rstrip("=")
    public = signing_key(server).as_pem(private=False)
    confused = jwt.encode({"alg": "HS256"}, claims(), OctKey.import_key(base64.b64encode(public).decode()), algorithms=["HS256"])
    foreign = jwt.encode(
        {"alg": "HS256"}, claims(iss="https://issuer.test", aud="the-gateway"), OctKey.generate_key(256), algorithms=["HS256"]
    )
    del issuer
    for token in (f"{head}.{body}.", f"{head}.{body}.AAAA", confused, foreign):
        refused(await ask(server, {"X-Internal-Token": token}))
        refused(await ask(server, {"Authorization": f"Bearer {token}"}))


WRONG: dict[str, dict[str, Any]] = {
    "5 no exp": {"exp": None},
    "6 no aud": {"aud": None},
    "7 other aud": {"aud": "billing"},
    "7 other auds": {"aud": ["billing", "mail"]},
    "8 no iss": {"iss": None},
    "8 other iss": {"iss": "https://elsewhere.test"},
    "no sub": {"sub": None},
    "no jti": {"jti": None},
    "no iat": {"iat": None},
    "empty sub": {"sub": ""},
    "sub is a number": {"sub": 5},
    "10 nbf ahead": {"nbf": 4102444800},
    "10 iat ahead": {"iat": 4102444700},
    "11 exp is a text": {"exp": "4102444800"},
    "11 exp is true": {"exp": True},
    "11 exp is a list": {"exp": [4102444800]},
}


@pytest.mark.promise("gateway-identity.5-11")
@pytest.mark.parametrize("case", WRONG)
async def test_claims_are_required_and_of_their_kind(server: Platform, issuer: Issuer, case: str) -> None:
    refused(await ask(server, {"X-Internal-Token": minted(server, **WRONG[case])}))
    refused(await ask(server, {"Authorization": f"Bearer {issuer.token(**WRONG[case])}"}))


@pytest.mark.promise("gateway-identity.9")
async def test_what_has_expired_is_said_to_have(server: Platform, issuer: Issuer) -> None:
    now = int(time.time())
    assert refused(await ask(server, {"X-Internal-Token": minted(server, exp=now - 1, iat=now - 10)}))["reason"] == "TOKEN_EXPIRED"
    late = issuer.token(exp=now - 11, iat=now - 100)
    assert refused(await ask(server, {"Authorization": f"Bearer {late}"}))["reason"] == "TOKEN_EXPIRED"
    assert (await ask(server, {"Authorization": f"Bearer {issuer.token(exp=now - 2, iat=now - 100)}"})).status_code == 200


@pytest.mark.promise("gateway-identity.5-11")
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", '"NaN"', "null"])
async def test_a_time_is_a_number(server: Platform, number: str) -> None:
    payload = json.dumps(claims(exp=None))[:-1] + f', "exp": {number}}}'
    refused(await ask(server, {"X-Internal-Token": signed_raw(server, {"alg": "Ed25519"}, payload)}))


@pytest.mark.promise("gateway-identity.12-13")
async def test_headers_choose_no_key(server: Platform, issuer: Issuer) -> None:
    asked = issuer.asked
    extra = (
        {"kid": "../../key"},
        {"jwk": {"kty": "OKP"}},
        {"jku": issuer.url},
        {"x5u": issuer.url},
        {"crit": ["exp"]},
        {"crit": ["unknown"], "unknown": 1},
        {"b64": False},
    )
    for more in extra:
        refused(await ask(server, {"X-Internal-Token": signed_raw(server, {"alg": "Ed25519", **more}, json.dumps(claims()))}))
    assert issuer.asked == asked
    for more in extra[1:]:
        token = signed_raw(server, {"alg": "ES256", "kid": "k1", **more}, json.dumps(claims(iss="https://issuer.test", aud="the-gateway")))
        refused(await ask(server, {"Authorization": f"Bearer {token}"}))
    assert issuer.asked == asked


@pytest.mark.promise("gateway-identity.14")
async def test_a_claim_stands_once(server: Platform) -> None:
    for payload in (json.dumps(claims())[:-1] + ', "sub": "somebody"}', '{"sub": "somebody", ' + json.dumps(claims())[1:]):
        refused(await ask(server, {"X-Internal-Token": signed_raw(server, {"alg": "Ed25519"}, payload)}))


@pytest.mark.promise("gateway-identity.15")
@pytest.mark.parametrize("token", [b"x" * 65_536, "tökén".encode(), b"a.b.c", b"..", b"\xff\xfe"])
async def test_no_text_breaks_the_server(server: Platform, token: bytes) -> None:
    reply = await ask(server, [(b"X-Internal-Token", token)])
    assert reply.status_code in {400, 401, 431}


@pytest.mark.promise("gateway-identity.fuzz")
@settings(max_examples=40, deadline=None)
@given(data=st.data())
async def test_no_changed_token_is_accepted(server: Platform, data: st.DataObject) -> None:
    """A token with any character changed, and any header value at all, is refused without an error of ours."""
    good = minted(server)
    place = data.draw(st.integers(0, len(good) - 1))
    changed = good[:place] + data.draw(st.sampled_from("AZaz09-_.")) + good[place + 1 :]
    free = data.draw(st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), min_size=1, max_size=200))
    async with httpx.AsyncClient(base_url=server.api_url, trust_env=False) as client:
        if changed != good:
            reply = await client.get(LIST, headers={"X-Internal-Token": changed})
            assert reply.status_code == 401 or _same_bits(changed, good), reply.text
        for name in (b"X-Internal-Token", b"Authorization", b"X-API-Key", b"X-Forwarded-For"):
            assert (await client.get(LIST, headers=[(name, free.encode("latin-1"))])).status_code in {400, 401}


def _same_bits(one: str, other: str) -> bool:
    """Whether two tokens differ only in the bits that base64 leaves over: the same signature then."""

    def decoded(text: str) -> list[bytes]:
        return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in text.split(".")]

    return one.count(".") == other.count(".") and one.split(".")[:2] == other.split(".")[:2] and decoded(one) == decoded(other)


@pytest.mark.promise("gateway-identity.fuzz")
@settings(max_examples=40, deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "agent", "tenant", "sandbox", "call", "key", "scope"]),
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=3),
        max_size=4,
    )
)
async def test_odd_claims_are_answered(server: Platform, changes: dict[str, Any]) -> None:
    """Even what our own key signed never makes an error of ours."""
    try:
        token = minted(server, **changes)
    except Exception:  # noqa: BLE001 (the library does not write such a token)
        return
    assert (await ask(server, {"X-Internal-Token": token})).status_code in {200, 401}


@pytest.mark.promise("gateway-identity.16-17")
async def test_two_callers_in_one_request_are_none(server: Platform, issuer: Issuer) -> None:
    token = minted(server)
    refused(await ask(server, {"X-Internal-Token": token, "Authorization": f"Bearer {issuer.token()}"}), 400, "BAD_REQUEST")
    refused(await ask(server, {"X-Internal-Token": minted(server, sub="bob"), "X-API-Key": server.key}), 400, "BAD_REQUEST")
    for name in ("X-Internal-Token", "Authorization", "X-API-Key"):
        refused(await ask(server, [(name, token), (name, token)]), 400, "BAD_REQUEST")


@pytest.mark.promise("gateway-identity.18")
async def test_a_revoked_key_and_its_tokens_are_refused(server: Platform) -> None:
    key, key_id = await new_key(server, "ann")
    reply = await ask(server, {"Authorization": f"Bearer {key}"}, path="/v1/auth/convert_to_internal_token", method="POST")
    converted = reply.json()
    assert converted["token_type"] == "internal"
    assert converted["expires_in"] == 3600
    token = {"X-Internal-Token": converted["internal_token"]}
    assert (await ask(server, token)).status_code == 200
    assert (await command("key", "revoke", "--data-dir", str(server.data_dir), key_id))[0] == 0
    async with asyncio.timeout(5):
        while (await ask(server, {"X-API-Key": key})).status_code == 200:  # noqa: ASYNC110 (the documented time)
            await asyncio.sleep(0.05)
    refused(await ask(server, {"X-API-Key": key}))
    refused(await ask(server, token))


@pytest.mark.promise("gateway-identity.convert")
async def test_only_keys_and_the_issuers_tokens_are_converted(server: Platform, issuer: Issuer) -> None:
    path = "/v1/auth/convert_to_internal_token"
    for value in ("sk-" + "1" * 40, "sk-short", minted(server), "x"):
        refused(await ask(server, {"Authorization": f"Bearer {value}"}, path=path, method="POST"))
    refused(await ask(server, path=path, method="POST"))
    reply = await ask(server, {"Authorization": f"Bearer {issuer.token()}"}, path=path, method="POST")
    assert reply.headers["cache-control"] == "no-store"
    assert (await ask(server, {"X-Internal-Token": reply.json()["internal_token"]})).status_code == 200


@pytest.mark.slow
@pytest.mark.promise("gateway-identity.19")
async def test_who_guesses_has_to_wait_and_learns_nothing(tmp_path: Any) -> None:
    async with (
        Platform(tmp_path / "data", "--auth-failures", "20") as platform,
        httpx.AsyncClient(base_url=platform.api_url, trust_env=False) as client,
    ):
        statuses: list[int] = []
        near: list[float] = []
        far: list[float] = []
        for number in range(1500):
            likeness = 35 if number % 2 else 0  # the right id, and 60 bits of the secret
            body = platform.key[3 : 3 + likeness] + f"{number:084x}"[likeness:]
            guess = spelled(f"k{body[:20]}", body[20:])
            began = time.perf_counter()
            reply = await client.get(LIST, headers={"X-API-Key": guess})
            (near if likeness else far).append(time.perf_counter() - began)
            statuses.append(reply.status_code)
        assert statuses[:10] == [401] * 10
        assert set(statuses[50:]) == {429}
        last = await client.get(LIST, headers={"X-API-Key": "sk-" + "0" * 40})
        assert int(last.headers["retry-after"]) >= 1
        assert abs(statistics.median(near[50:]) / statistics.median(far[50:]) - 1) < 0.5
        assert (await client.get(LIST, headers={"X-API-Key": platform.key})).status_code == 200


@pytest.mark.promise("gateway-identity.20")
async def test_nobody_is_believed_where_no_proxy_is_named(gateway: Platform, tmp_path: Any) -> None:
    refused(await ask(gateway, {"X-Forwarded-For": "127.0.0.1"}))
    async with Platform(tmp_path / "data", "--allow-address", "10.0.0.0/8") as platform:
        refused(await ask(platform, {"X-Forwarded-For": "10.0.0.5"}))
    async with Platform(tmp_path / "data", "--allow-address", "127.0.0.1") as platform:
        assert (await ask(platform)).status_code == 200
        refused(await ask(platform, {"X-Internal-Token": "x"}))


@pytest.mark.promise("gateway-identity.21-22")
@pytest.mark.parametrize(
    ("forwarded", "known"),
    [
        (["10.0.0.5"], True),
        (["198.51.100.7, 10.0.0.5"], True),
        (["10.0.0.5, 198.51.100.7"], False),
        (["10.0.0.5", "198.51.100.7"], False),
        (["198.51.100.7", "10.0.0.5"], True),
        (["10.0.0.5, 127.0.0.1"], True),
        (["::ffff:10.0.0.5"], True),
        (["[::ffff:10.0.0.5]:443"], True),
        (["::ffff:a00:5"], True),
        (["10.0.0.5:8080"], True),
        (["2001:db8::1"], True),
        (["[2001:db8::1]:99"], True),
        (["::10.0.0.5"], False),
        (["unknown"], False),
        (["10.0.0.5, unknown"], False),
        (["10.0.0.5,"], False),
        (["10.0.0.005"], False),
        (["0x0a000005"], False),
        (["167772165"], False),
        (["10.0.0.5:x"], False),
        (["_hidden"], False),
        (["10.0.0.5, 127.0.0.1, 203.0.113.4"], False),
        (["10.0.0.5, " * 5000 + "10.0.0.5"], False),
        (["127.0.0.1, " * 40 + "127.0.0.1"], False),
        (["10.0.0.5, " + "127.0.0.1, " * 200 + "127.0.0.1"], False),
    ],
)
async def test_only_the_nearest_unknown_hop_counts(server: Platform, forwarded: list[str], known: bool) -> None:
    reply = await ask(server, [("X-Forwarded-For", line) for line in forwarded])
    assert reply.status_code in ({200} if known else {400, 401, 431}), reply.text


@pytest.mark.promise("gateway-identity.listed")
async def test_who_is_only_listed_keeps_no_secrets_and_has_no_agent(server: Platform) -> None:
    listed = {"X-Forwarded-For": "10.0.0.5"}
    refused(
        await ask(server, listed, path="/v1/prefabs/some-prefab/secrets/NAME", method="PUT", json={"value": "x"}), 403, "PERMISSION_DENIED"
    )
    refused(await ask(server, listed, path="/internal/files/list"), 400, "MISSING_AGENT_CONTEXT")
    refused(await ask(server, listed, path="/v1/auth/convert_to_internal_token", method="POST"))


@pytest.mark.promise("gateway-identity.23")
async def test_what_a_request_claims_is_not_believed(server: Platform) -> None:
    claims_ = {"X-User-Id": "bob", "X-Agent-Id": "evil", "X-Tenant": "bob", "X-Sandbox-Id": "s1"}
    reply = await ask(
        server,
        agent(server) | claims_,
        path="/internal/files/upload?user_id=bob&agent_id=evil",
        method="POST",
        data={"user_id": "bob", "agent_id": "evil"},
        files={"file": ("a.txt", b"x")},
    )
    assert reply.json()["s3_url"].startswith("s3://sandyard/agent-outputs/default/tester/")


@pytest.mark.promise("gateway-identity.24")
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "upload"), ("POST", "upload_temp"), ("GET", "list"), ("GET", "list_temp"), ("DELETE", "cleanup_temp?session_id=a")],
)
async def test_third_parties_have_no_agents_files(server: Platform, issuer: Issuer, method: str, path: str) -> None:
    body = {"files": {"file": ("a.txt", b"x")}} if method == "POST" else {}
    for headers in ({"X-API-Key": server.key}, {"Authorization": f"Bearer {issuer.token()}"}):
        refused(await ask(server, headers, path=f"/internal/files/{path}", method=method, **body), 400, "MISSING_AGENT_CONTEXT")


@pytest.mark.promise("gateway-identity.issuer")
async def test_the_issuers_keys_rotate(server: Platform, issuer: Issuer) -> None:
    old = issuer.token()
    assert (await ask(server, {"Authorization": f"Bearer {old}"})).status_code == 200
    issuer.rotate("k2")
    async with asyncio.timeout(10):
        while (await ask(server, {"Authorization": f"Bearer {issuer.token()}"})).status_code != 200:  # noqa: ASYNC110 (its cache's time)
            await asyncio.sleep(0.05)
    refused(await ask(server, {"Authorization": f"Bearer {old}"}))
    refused(await ask(server, {"X-Internal-Token": issuer.token()}))
    unknown = issuer.token({"kid": "../../k2"})
    refused(await ask(server, {"Authorization": f"Bearer {unknown}"}))
