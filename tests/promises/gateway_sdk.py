"""What callers of the gateway may rely on: `gateway_sdk`, the example prefabs."""

_1 = "issue 5 §1"
_14 = "gateway-contract 1.4"

PROMISES = [
    (
        "gateway-sdk.names",
        _1,
        "Every name, parameter and default of seed 004 is there, at top level and, for exceptions, in `.exceptions`.",
    ),
    ("gateway-sdk.light-import", _1, "Importing gateway_sdk, and making a client, imports no HTTP library."),
    ("gateway-sdk.twins", _1, "Both clients have the same methods with the same parameters, and both are context managers."),
    ("gateway-sdk.base-url", _1, "The base URL is the argument, GATEWAY_BASE_URL, or the running platform's; never the seed's host."),
    ("gateway-sdk.credentials", "seed-resolutions 31-32, 36", "Credentials are keywords with a precedence; the constructor never raises."),
    ("gateway-sdk.connections", _1, "A client keeps one pool of connections."),
    ("gateway-sdk.errors", _14, "Every answer that is no success is a typed GatewayError, in plain calls and in streams."),
    ("gateway-sdk.failed-results", _14, "A failed function is a result, whose exception can be had."),
    ("gateway-sdk.secrets", _1, "No signed URL and no token stands in a log or an error, with debug logging too."),
    (
        "gateway-sdk.retries",
        _1,
        "What has an idempotency key, or changes nothing, is sent again when it may help; nothing else is. Retry-After is kept.",
    ),
    (
        "gateway-sdk.jobs",
        "gateway-contract §5",
        "A job is begun, asked about, followed and cancelled; its events are gone on with where a connection was cut.",
    ),
    ("gateway-sdk.call-keys", "gateway-contract §5", "Each call of a batch may have an idempotency key of its own."),
    (
        "gateway-sdk.renewal",
        _1,
        "A token that a key was exchanged for is renewed near its expiry and when it is refused, once for all who wait.",
    ),
    (
        "gateway-sdk.timeout",
        "seed-resolutions 33",
        "timeout bounds a request, and the silence of a stream; it is 1200 seconds if nobody says otherwise.",
    ),
    (
        "gateway-sdk.streams",
        "gateway-contract 1.5",
        "Streams are read by the standard, end with exactly one done or error, and raise when they are cut.",
    ),
    (
        "gateway-sdk.break",
        "gateway-contract 1.5",
        "Leaving the loop over a stream closes the connection at once, and the call is cancelled.",
    ),
    ("gateway-sdk.results", "seed-resolutions 35", "get_result, get and get_files read envelopes, results and plain outputs."),
    ("gateway-sdk.bodies", "gateway-contract 1.3", "Requests are as the public client sends them, in UTF-8."),
    ("gateway-sdk.uploads", _1, "Uploads are streamed in constant memory, with a length, the file's own name, and a progress callback."),
    ("gateway-sdk.downloads", _1, "A download appears when all of it is there, under its name, or not at all; it takes constant memory."),
    ("gateway-sdk.proxies", _1, "In a sandbox, whose only way out is a proxy, the clients go through it."),
    ("gateway-sdk.platform", _1, "Both clients call, chain, batch, stream and list against a real gateway."),
    ("gateway-sdk.docs", "issue 5 §1", "What docs/gateway.md shows are programs, and they run."),
    ("prefabs.examples", "issue 5 §3", "Each example prefab is published and run: video, language model, translation, tables."),
]
