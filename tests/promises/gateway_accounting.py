"""Agents at the gateway, secrets, quotas, usage, the audit, buckets."""

_5 = "issue 5 §2"

PROMISES: list[tuple[str, ...]] = [
    (
        "gateway-agents.inside",
        _5,
        "An agent in a sandbox calls prefabs and stores files by X_INTERNAL_TOKEN and GATEWAY_BASE_URL, as seed 004 shows.",
    ),
    (
        "gateway-agents.renewed",
        _5,
        "A sandbox's own token stays good inside it for as long as it lives; outside it ends after five minutes.",
    ),
    ("gateway-agents.only_gateway", _5, "By the gateway's name a sandbox reaches the gateway and no control plane."),
    (
        "gateway-secrets.command",
        _5,
        "Secrets are set, named, rotated and forgotten by a command; no value is ever shown or lies open on the disk.",
    ),
    ("gateway-quotas.command", _5, "Quotas are set, listed and removed by a command, per tenant, user, key and prefab."),
    ("gateway-quotas.headers", _5, "A refusal says RateLimit, RateLimit-Policy and Retry-After."),
    ("gateway-quotas.usage", _5, "What was used is reported by day, key and function."),
    ("gateway-audit.chain", _5, "The audit cannot be changed by SQL, and sandyard audit verify finds what was changed anyway."),
    (
        "gateway-audit.changes",
        _5,
        "The audit names who published, yanked, uploaded, deleted, made or revoked a key, set or forgot a secret, and no value of any.",
    ),
    ("gateway-audit.flood", _5, "Refused credentials are in the audit, and a flood of them is a few entries a minute."),
    (
        "gateway-logs.kept",
        _5,
        "What a call prints is kept for its caller alone, by job and by prefab: the last 16 KiB, a day, without secrets; sandyard prefab logs follows.",
    ),
    (
        "gateway-webhooks.told",
        "gateway-contract §4.1",
        "Who is named as callback of an asynchronous job is told of its end, signed, again until it was heard, also after the server was killed.",
    ),
    ("gateway-files.s3", _5, "Bytes are kept in a bucket of an S3-compatible server by --blobs s3://…, with the same signed URLs."),
    (
        "gateway-files.direct_up",
        _5,
        "Who announces an upload's size gets an address in the bucket: for exactly that many bytes of that type, once, reserved ahead, seen when whole.",
    ),
    (
        "gateway-files.direct_down",
        _5,
        "A lasting file in a bucket is downloaded from there, by an address for that file alone, as an attachment, until its time is over.",
    ),
    ("gateway-files.direct_off", _5, "With presign=off all bytes go through the server's own signed URLs."),
    ("gateway-files.direct_sdk", _5, "gateway_sdk goes to the bucket itself where it is sent there; no log shows a signature."),
]
