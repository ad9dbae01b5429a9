"""The control plane of sandboxes, as E2B's clients and their relatives call it."""

PROMISES = [
    (
        "sandboxes.options",
        "sandbox-protocol §1.4",
        "Create takes every option of both vendors, on both paths, with their defaults (300 and 15 seconds); what cannot be had is 501 and why.",
    ),
    ("sandboxes.reply", "sandbox-protocol §1.4, §1.7", "Replies have the fields that generated clients insist on; the access token is always there and stable."),
    (
        "sandboxes.traffic-token",
        "sandbox-protocol §1.7",
        "A sandbox that is not public has a traffic token, which opens its ports but not its guest; one of no agent is public by default.",
    ),
    ("sandboxes.list", "sandbox-protocol §1.3, §1.5", "The list goes by order, start, template, state and metadata, in pages."),
    ("sandboxes.owners", "issue 4 §7", "Other owners' sandboxes are 404 in every verb."),
    ("sandboxes.pause-files", "issue 4 §2", "A pause without memory keeps the files alone and frees everything else; connect starts anew with them."),
    ("sandboxes.auto-pause", "sandbox-protocol §1.7", "A time-out pauses as it was wished, with memory or without."),
    ("sandboxes.auto-resume", "sandbox-protocol §1.7", "Traffic resumes what was made to auto-resume, and nothing else."),
    ("sandboxes.metrics", "issue 4 §1", "Metrics are real numbers, in seconds or milliseconds, of one sandbox or several."),
    ("sandboxes.logs", "issue 4 §1", "Logs go by cursor, limit, direction, level and search, in both versions; times are in order and stay."),
    ("sandboxes.network", "issue 4 §1", "A sandbox's network can be replaced while it runs; it holds under a new server."),
    ("sandboxes.snapshots", "issue 4 §2", "A snapshot keeps the files, is started from by its id, listed, named anew and deleted; it says that memory is not in it."),
    ("sandboxes.fork", "issue 4 §2", "Forks and clones begin with the files of their sandbox, which runs on; each fork succeeds or fails for itself."),
    ("sandboxes.reset", "issue 4 §1", "A reset takes a sandbox back to what it began with; its id and tokens stay."),
    ("sandboxes.saved-left", "issue 4 §2", "A saved state is there as long as a sandbox stands on it, and gone after that, also after a killed server."),
    ("sandboxes.events", "issue 4 §1", "What happens to a sandbox is told to its owner, also after its end."),
    ("sandboxes.quota", "issue 4 §1", "The quota says how many sandboxes there are and may be."),
    ("sandbox.ppio-names", "issue 4", "`ppio_sandbox.Sandbox` and its kin are the public e2b client, told by `PPIO_*` where the platform is."),
    ("sandboxes.every-method", "issue 4, proof", "Every public method of the e2b client works in both faces, but for those that the docs name with a reason."),
    ("docs.e2b-coverage", "issue 4, proof", "The table of the client's methods is generated from the test that calls them."),
    ("sandboxes.javascript", "issue 4, proof", "The public e2b client for JavaScript works with nothing but environment variables."),
    ("sandboxes.e2b", "issue 4, proof", "The real e2b package drives the life of a sandbox, in both its faces."),
]  # fmt: skip
