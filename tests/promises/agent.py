"""The agent side: server-sent events, and the service that a function becomes."""

PROMISES = [
    ("sse.round-trip", "issue 2 §2", "What is written as server-sent events is read again, however the bytes are cut."),
    ("sse.standard", "issue 2 §2", "The decoder keeps the standard: line ends, byte order mark, comments, fields, incomplete ends."),
]
