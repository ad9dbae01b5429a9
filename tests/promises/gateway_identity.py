"""Who calls the gateway (the numbers are those of the abuse cases of gateway-contract §4.3), and what seals secrets."""

_5 = "issue 5 §2"
_A = "gateway-contract §4.3"

PROMISES: list[tuple[str, ...]] = [
    (
        "gateway.envelopes",
        _5,
        "Secrets lie in AES-256-GCM envelopes bound to their place; master keys come from a file or a command and rotate.",
    ),
    (
        "gateway-identity.precedence",
        "gateway-contract §2.7",
        "Internal token, bearer, API key, listed address: each is known, the first one says who.",
    ),
    ("gateway-identity.1", f"{_A} #1", "Without a credential the answer is 401 UNAUTHENTICATED with WWW-Authenticate: Bearer."),
    ("gateway-identity.2", f"{_A} #2", "A credential that is there but invalid is 401, whatever else would have been good."),
    ("gateway-identity.3-4", f"{_A} #3-4", "Algorithms are pinned: neither none nor HS256 with our public key is accepted."),
    ("gateway-identity.5-11", f"{_A} #5-8, #10-11", "Claims are required, of their kind, for us and of now."),
    ("gateway-identity.9", f"{_A} #9", "A token that has expired is 401 with the reason TOKEN_EXPIRED."),
    ("gateway-identity.12-13", f"{_A} #12-13", "No header of a token chooses a key, makes us ask anybody, or changes the rules."),
    ("gateway-identity.14", f"{_A} #14", "A token with a claim twice is refused."),
    ("gateway-identity.15", f"{_A} #15", "Long, odd and broken tokens are 400, 401 or 431, never 500."),
    ("gateway-identity.fuzz", _5, "No changed token is accepted and no claims make the server fail (hypothesis)."),
    ("gateway-identity.16-17", f"{_A} #16-17", "Credentials of two callers, or a header twice, are 400 BAD_REQUEST."),
    ("gateway-identity.18", f"{_A} #18", "A revoked key is refused within 5 seconds, and so are the tokens made with it."),
    (
        "gateway-identity.convert",
        "gateway-contract §2.7",
        "A key, or a token of the issuer, becomes an internal token for an hour; nothing else does.",
    ),
    (
        "gateway-identity.19",
        f"{_A} #19",
        "Guessing keys tells nothing by its time, and an address that guesses gets 429; who has a key gets in.",
    ),
    ("gateway-identity.20", f"{_A} #20", "X-Forwarded-For of a peer that is no named proxy is ignored."),
    (
        "gateway-identity.21-22",
        f"{_A} #21-22",
        "Behind a named proxy the right-most unknown hop counts, however it is spelled; what is no address is nobody.",
    ),
    ("gateway-identity.listed", "gateway-contract §4.1", "Who is known by an address only keeps no secrets and has no agent."),
    ("gateway-identity.23", f"{_A} #23", "User and agent come from the signed token, never from a header, query or body."),
    ("gateway-identity.24", f"{_A} #24", "Third parties get 400 MISSING_AGENT_CONTEXT where an agent's files are meant."),
    ("gateway-identity.issuer", _5, "Tokens of the configured issuer are accepted, and its keys rotate."),
]
