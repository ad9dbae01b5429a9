"""The gateway's neighbours: identity, files, secrets, quotas, audit."""

_5 = "issue 5 §2"

PROMISES: list[tuple[str, ...]] = [
    (
        "gateway.envelopes",
        _5,
        "Secrets lie in AES-256-GCM envelopes bound to their place; master keys come from a file or a command and rotate.",
    ),
]
