"""The gateway's tools over the Model Context Protocol."""

_5 = "issue 5 §2"
_D = "gateway-contract §5"
_A = "gateway-contract §4.3"

PROMISES: list[tuple[str, ...]] = [
    ("mcp.tools", _5, "Every prefab function that the caller may call is a tool at /mcp, for clients with and without initialize."),
    ("mcp.schemas", _D, "A tool's input schema is the function's; its output schema comes from what the manifest says that it returns."),
    ("mcp.calls", _5, "A tool's call answers what the function returned as structured content and as text."),
    ("mcp.versions", _D, "/mcp/{alias} lists and calls the versions that the alias means; a call's _meta may name another one."),
    (
        "mcp.files",
        _D,
        "Input files are s3:// arrays; files that a call leaves are resource links and s3:// URLs in the structured content.",
    ),
    ("mcp.progress", _D, "A progress event of a function is a progress notification, before the result."),
    ("mcp.pages", _D, "A long list of tools comes in pages."),
    (
        "mcp.cancel",
        _5,
        "A client that leaves, or posts notifications/cancelled, ends the function that it called, and no other client can.",
    ),
    (
        "mcp.news",
        _5,
        "A client that listens is told when its own list of tools has changed: published, yanked, shown; and of nobody else's.",
    ),
    ("mcp.identity", _5, "The endpoint knows callers as every other path of the gateway does, and refuses them with the same body."),
    (
        "mcp.arguments",
        f"{_A} #92",
        "Undeclared and wrong arguments are an error in the result, VALIDATION_ERROR with the pointer into them.",
    ),
    ("mcp.tenants", f"{_A} #92", "A private tool of another tenant is neither listed nor callable."),
    ("mcp.sessions", f"{_A} #92", "There are no sessions: whoever names one gets 404."),
    ("mcp.headers", f"{_A} #92", "A header that says another method or tool than the body is refused with 400."),
    (
        "mcp.bodies",
        f"{_A} #27-33",
        "Bodies that are no strict JSON, too large, compressed or of another type are refused; so are other origins.",
    ),
]
