"""Cases 1 to 26 of the gateway contract's §4.3: who calls."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sandyard.services.keys import spelled
from support.abuse import ABUSE, detail, key_of, raw, sandyard, statuses
from support.hostile_tokens import Minter, encoded, part
from support.platform import Platform
from support.prefabs import KIT, call, result

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

IN_2100 = 4102444800
"""A time to come, in seconds since 1970; one number, since it is part of the tests' names, which every worker must find alike."""


@pytest.fixture(scope="module")
def minter(abused: Platform) -> Minter:
    return Minter(abused)


@pytest.fixture(scope="module")
async def listing(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    """A platform with a list of addresses; its proxy is on loopback, as the tests are."""
    options = ("--allow-address", "10.0.0.5", "--trusted-proxy", "127.0.0.1")
    async with Platform(tmp_path_factory.mktemp("listing") / "data", *options) as running:
        yield running


async def ask(platform: Platform, **headers: str | list[str]) -> httpx.Response:
    """GET /v1/prefabs with these credentials and no other; a list is a header that is there more than once."""
    lines: list[tuple[str, str]] = []
    for name, value in headers.items():
        lines += [(name.replace("_", "-"), one) for one in ([value] if isinstance(value, str) else value)]
    async with httpx.AsyncClient(base_url=platform.api_url, trust_env=False, timeout=20) as client:
        return await client.get("/v1/prefabs", headers=lines)


async def refused(platform: Platform, token: str) -> dict[str, Any]:
    """See that a token is refused in both places where it may stand; return the error."""
    detail(await ask(platform, Authorization=f"Bearer {token}"), 401, "UNAUTHENTICATED")
    return detail(await ask(platform, X_Internal_Token=token), 401, "UNAUTHENTICATED")


@pytest.mark.promise("abuse.01")
async def test_01_no_credentials(abused: Platform) -> None:
    reply = await ask(abused)
    detail(reply, 401, "UNAUTHENTICATED")
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.promise("abuse.02")
async def test_02_an_invalid_token_from_a_listed_address(listing: Platform) -> None:
    assert (await ask(listing, X_Forwarded_For="10.0.0.5")).status_code == 200
    detail(await ask(listing, X_Forwarded_For="10.0.0.5", X_Internal_Token="x.y.z"), 401, "UNAUTHENTICATED")
    detail(await ask(listing, X_Forwarded_For="10.0.0.5", X_API_Key="sk-" + "0" * 40), 401, "UNAUTHENTICATED")


@pytest.mark.promise("abuse.03")
@pytest.mark.parametrize("alg", ["none", "None", "NONE"])
async def test_03_alg_none(abused: Platform, minter: Minter, alg: str) -> None:
    claims = encoded(json.dumps(minter.claims()).encode())
    for signature in ("", encoded(b"x")):
        await refused(abused, f"{part({'alg': alg})}.{claims}.{signature}")


@pytest.mark.promise("abuse.04")
async def test_04_the_public_key_as_a_secret(abused: Platform, minter: Minter) -> None:
    start = f"{part({'alg': 'HS256'})}.{encoded(json.dumps(minter.claims()).encode())}"
    for secret in (minter.public_key, minter.public_key.strip(), b""):
        await refused(abused, f"{start}.{encoded(hmac.digest(secret, start.encode(), hashlib.sha256))}")


@pytest.mark.promise("abuse.05", "abuse.06", "abuse.07", "abuse.08", "abuse.10")
@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"aud": None},
        {"aud": "another-service"},
        {"aud": ["another-service"]},
        {"iss": None},
        {"iss": "another-issuer"},
        {"sub": None},
        {"jti": None},
        {"iat": None},
        {"nbf": IN_2100},
        {"iat": IN_2100},
    ],
    ids=str,
)
async def test_05_to_10_claims(abused: Platform, minter: Minter, changes: dict[str, Any]) -> None:
    assert (await ask(abused, X_Internal_Token=minter.token())).status_code == 200
    assert "reason" not in await refused(abused, minter.token(**changes))


@pytest.mark.promise("abuse.09")
async def test_09_expired(abused: Platform, minter: Minter) -> None:
    now = int(time.time())
    assert (await refused(abused, minter.token(iat=now - 100, exp=now - 2)))["reason"] == "TOKEN_EXPIRED"


@pytest.mark.promise("abuse.11")
@pytest.mark.parametrize("exp", ['"1900000000"', "NaN", "Infinity", "1e400", "true", "[1900000000]", "null"])
async def test_11_times_that_are_none(abused: Platform, minter: Minter, exp: str) -> None:
    claims = json.dumps(minter.claims(exp=1)).replace('"exp": 1', f'"exp": {exp}')
    assert exp in claims
    await refused(abused, minter.signed(claims))


@pytest.mark.promise("abuse.12", "abuse.13")
async def test_12_13_headers_that_name_keys(abused: Platform, minter: Minter) -> None:
    asked = asyncio.Event()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
        for more in ({"kid": "unknown"}, {"kid": "../../key"}, {"jwk": {"kty": "OKP"}}, {"jku": url}, {"x5u": url}, {"crit": ["exp"]}):
            await refused(abused, minter.token({"alg": "Ed25519", **more}))
    assert not asked.is_set()


@pytest.mark.promise("abuse.14")
async def test_14_a_claim_twice(abused: Platform, minter: Minter) -> None:
    claims = json.dumps(minter.claims())
    await refused(abused, minter.signed(claims[:-1] + ', "sub": "somebody-else"}'))


@pytest.mark.promise("abuse.15")
async def test_15_tokens_that_are_no_text_of_a_token(abused: Platform, minter: Minter) -> None:
    async def sent(token: bytes) -> int:
        head = b"GET /v1/prefabs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Internal-Token: "
        found = statuses(await raw(abused, head + token + b"\r\n\r\n"))
        return found[0] if found else 0

    assert await sent(minter.token(more="x" * 2**16).encode()) in {400, 401, 431}
    assert await sent("Schlüssel.für.dich".encode()) == 401
    assert await sent("钥匙".encode()) == 401
    assert await sent(b"abc\r\nX-API-Key: " + abused.key.encode()) == 401
    assert await sent(b"a\rb") in {400, 401}
    assert await sent(b"a\x00b") in {400, 401}


@pytest.mark.promise("abuse.16", "abuse.17")
async def test_16_17_more_than_one_credential(abused: Platform, minter: Minter) -> None:
    other = minter.token(sub="somebody-else", tenant="elsewhere")
    detail(await ask(abused, X_Internal_Token=minter.token(), Authorization=f"Bearer {other}"), 400, "BAD_REQUEST")
    detail(await ask(abused, X_Internal_Token=other, X_API_Key=abused.key), 400, "BAD_REQUEST")
    detail(await ask(abused, X_Internal_Token=[minter.token(), minter.token()]), 400, "BAD_REQUEST")
    detail(await ask(abused, X_API_Key=[abused.key, abused.key]), 400, "BAD_REQUEST")
    detail(await ask(abused, Authorization=[f"Bearer {other}", f"Bearer {other}"]), 400, "BAD_REQUEST")


@pytest.mark.promise("abuse.18")
async def test_18_a_revoked_key(abused: Platform) -> None:
    key = await key_of(abused, "revoked-18")
    reply = await abused.api.post("/v1/auth/convert_to_internal_token", headers={"X-API-Key": key})
    token = reply.json()["internal_token"]
    assert (await ask(abused, X_API_Key=key)).status_code == (await ask(abused, X_Internal_Token=token)).status_code == 200
    listed = await sandyard(abused, "key", "list")
    key_id = next(line.split()[0] for line in listed.splitlines() if key[-4:] in line)
    await sandyard(abused, "key", "revoke", key_id)
    async with asyncio.timeout(5):
        while (await ask(abused, X_API_Key=key)).status_code == 200:  # noqa: ASYNC110 (the server takes note of it)
            await asyncio.sleep(0.05)
    detail(await ask(abused, X_API_Key=key), 401, "UNAUTHENTICATED")
    await refused(abused, token)


@pytest.mark.promise("abuse.19")
async def test_19_guesses(tmp_path: Any) -> None:
    async with Platform(tmp_path / "data", "--auth-failures", "20") as platform:
        guess = spelled("k" + platform.key[3:23], "0" * 64)
        answers = [await ask(platform, X_API_Key=guess) for _ in range(30)]
        assert [reply.status_code for reply in answers[:20]] == [401] * 20
        assert [reply.status_code for reply in answers[20:]] == [429] * 10
        detail(answers[-1], 429, "RATE_LIMITED")
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await ask(platform, X_API_Key=platform.key)).status_code == 200


@pytest.mark.promise("abuse.20")
async def test_20_forwarded_by_nobody(tmp_path: Any) -> None:
    async with Platform(tmp_path / "data", "--allow-address", "10.0.0.5") as platform:
        for line in ("10.0.0.5", "10.0.0.5, 10.0.0.5", "::ffff:10.0.0.5"):
            detail(await ask(platform, X_Forwarded_For=line), 401, "UNAUTHENTICATED")


@pytest.mark.promise("abuse.21", "abuse.22")
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["10.0.0.5"], 200),
        (["6.6.6.6, 10.0.0.5"], 200),
        (["::ffff:10.0.0.5"], 200),
        (["[::ffff:10.0.0.5]:4711"], 200),
        (["10.0.0.5:4711"], 200),
        (["10.0.0.5, 127.0.0.1"], 200),
        (["6.6.6.6", "10.0.0.5"], 200),
        (["10.0.0.5, 6.6.6.6"], 401),
        (["10.0.0.5", "6.6.6.6"], 401),
        (["unknown"], 401),
        (["10.0.0.5, unknown"], 401),
        (["10.0.0.5,"], 401),
        (["010.0.0.5"], 401),
        (["10.0.0.5/32"], 401),
        (["10.0.0.5:x"], 401),
        (["10.0.0.5," * 999 + "6.6.6.6"], 401),
        (["6.6.6.6," * 999 + "unknown"], 401),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_21_22_forwarded_by_a_proxy(listing: Platform, lines: list[str], status: int) -> None:
    assert (await ask(listing, X_Forwarded_For=lines)).status_code == status


@pytest.mark.promise("abuse.22")
async def test_22_a_line_with_thousands_of_hops(listing: Platform) -> None:
    line = b"10.0.0.5," * 5000
    answer = await raw(
        listing, b"GET /v1/prefabs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: " + line + b"10.0.0.5\r\n\r\n"
    )
    assert statuses(answer) in ([400], [401], [431])


@pytest.mark.promise("abuse.23")
async def test_23_claims_outside_the_token(abused: Platform, minter: Minter) -> None:
    token = minter.agent("agent-23", user="user-23", tenant="tenant-23")
    headers = {"X-Internal-Token": token, "X-User-Id": "default", "X-Agent-Id": "tester", "X-Tenant": "default"}
    async with httpx.AsyncClient(base_url=abused.api_url, trust_env=False, timeout=20, params={"user_id": "default"}) as client:
        reply = await client.post("/internal/files/upload", params={"agent_id": "tester"}, files={"file": ("a.txt", b"a")}, headers=headers)
        assert reply.status_code == 200, reply.text
        assert "/agent-outputs/user-23/agent-23/" in reply.json()["s3_url"]
        body = {"calls": [call(KIT, "add", {"a": 1})], "user_id": "default", "agent_id": "tester"}
        detail(await client.post("/v1/run", json=body, headers=headers), 404, "NOT_FOUND")


@pytest.mark.promise("abuse.24")
async def test_24_no_agent(abused: Platform, minter: Minter) -> None:
    for path in ("/internal/files/upload", "/internal/files/upload_temp"):
        for headers in ({}, {"X-API-Key": "", "X-Internal-Token": minter.token()}):
            sent = {name: value for name, value in ({"X-API-Key": abused.key} | headers).items() if value}
            async with httpx.AsyncClient(base_url=abused.api_url, trust_env=False, timeout=20) as client:
                reply = await client.post(path, files={"file": ("a.txt", b"a")}, headers=sent)
            detail(reply, 400, "MISSING_AGENT_CONTEXT")


@pytest.mark.promise("abuse.25")
async def test_25_the_token_of_an_ended_call(abused: Platform) -> None:
    told = (await result(abused, ABUSE, "tell_token"))["output"]["output"]
    assert told["token"]
    assert told["url"]
    await refused(abused, told["token"])


@pytest.mark.promise("abuse.26")
async def test_26_the_scope_of_a_child_token(abused: Platform) -> None:
    body = {"calls": [call(ABUSE, "hold", {"seconds": 6.0})], "stream": True}
    async with abused.api.stream("POST", "/v1/run", json=body) as stream:
        lines = stream.aiter_lines()
        while not (line := await anext(lines)).startswith("data: "):
            continue
        token = json.loads(line.removeprefix("data: "))["data"]
        async with httpx.AsyncClient(base_url=abused.api_url, trust_env=False, headers={"X-Internal-Token": token}, timeout=20) as client:
            reply = await client.post("/v1/run", json={"calls": [call(KIT, "add", {"a": 1})]})
            detail(reply, 403, "PERMISSION_DENIED")
            detail(await client.put(f"/v1/prefabs/{ABUSE}/secrets/MINE", json={"value": "x"}), 403, "PERMISSION_DENIED")
            detail(await client.post("/v1/prefabs", content=b"x", headers={"Content-Type": "application/zip"}), 403, "PERMISSION_DENIED")
            detail(await client.post("/v1/auth/convert_to_internal_token"), 401, "UNAUTHENTICATED")
    async with asyncio.timeout(5):
        while (await ask(abused, X_Internal_Token=token)).status_code == 200:  # noqa: ASYNC110 (the call ends when its reader has left)
            await asyncio.sleep(0.05)
