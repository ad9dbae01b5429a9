"""What our OpenAPI documents say, held against the running servers."""

_4 = "issue 5 §4"

PROMISES: list[tuple[str, ...]] = [
    (
        "openapi.gateway",
        _4,
        "The gateway answers every request that its document allows, and others, without a 500 and as the document says.",
    ),
    ("openapi.control", _4, "So does the control plane."),
    ("openapi.prefab", "issue 5 §2", "So does a prefab under its own document, whose bodies are typed."),
]
