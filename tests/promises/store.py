"""Rows, blobs, keys, tokens and the back ends' common ground."""

PROMISES = [
    ("store.keys_hashed", "issue 2 §3; DESIGN §4", "An API key is shown once; what is stored is its HMAC under a pepper that the database does not hold."),
    (
        "store.keys_form",
        "gateway-contract §4.1",
        "A key is an id, 256 random bits and a checksum; it is looked up by its id, and one that was cut or mistyped costs no look.",
    ),
    ("store.keys_revoked", "issue 2 §3", "A key that is revoked, by whichever process, is refused within a second."),
    ("store.internal_token", "issue 2 §3; DESIGN §4", "The internal token is a signed, short-lived JWT that names user, agent and sandbox."),
    ("store.acknowledged_rows_survive", "issue 2 §6", "A row that was acknowledged survives kill -9 of the server."),
    ("store.full_disk", "issue 2 §6", "A full disk under the data directory is a clear error, and nothing is half written."),
    ("store.conditional_change", "issue 2 §3", "Of several changes that race for one row, exactly one wins."),
    ("store.forgets", "issue 2 §6", "Sandboxes that ended are forgotten a week after their time: the database does not grow for ever."),
    ("store.newer_database", "issue 2 §3", "A database of a newer program is refused with a sentence that says so."),
    ("store.builds_and_tags", "issue 2 §3", "Tags of a build move to it in the moment in which it is deployed, not before."),
    ("store.blobs_whole", "issue 2 §3", "A package is stored whole or not at all, in constant memory."),
    ("backend.conformance", "issue 2 §3", "Every back end is held by one conformance suite that ships with the port."),
    ("backend.freeze", "issue 2 §3", "Freezing keeps a sandbox's memory; freeze, thaw and stop may be repeated."),
    ("backend.start_failed", "issue 2 §6", "An agent that exits at once or never listens is reported with its exit code and last output."),
    ("backend.concurrent", "issue 2 §3", "Twenty starts at once, and verbs that race on one sandbox, all end well."),
]  # fmt: skip
