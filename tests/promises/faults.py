"""Issue 2 §6 at the highest door with real sandboxes. Promises that other areas hold already, and where:

broken JSON, oversized body, unknown template, keys, methods: `api.errors`, `api.keys`; unknown and closed port, oversized body and
slow heads at the ingress: `ingress.not-found`, `ingress.port-closed`, `ingress.limits`, `ingress.slow-clients`; packages that lead
out, 100,000 files, bombs: `build.packages`, `build.bombs`; requirements that cannot be resolved: `build.failures`; a create that a
killed server left, a second server: `serve.adoption`, `serve.one-server`; the platform's key in a sandbox: `ingress.platform-key`.
"""

PROMISES = [
    ("faults.exits-at-once", "issue 2 §6", "An agent that exits at its start fails the create with exit code and last lines."),
    ("faults.never-listens", "issue 2 §6", "An agent that never listens is ended at its time, and the caller sees what it printed."),
    ("faults.prints", "issue 2 §6", "An agent that prints 100 MB costs neither disk nor memory; its last lines are kept."),
    ("faults.memory", "issue 2 §6", "An agent that allocates without end is killed at its limit, and both caller and owner are told."),
    ("faults.forks", "issue 2 §6", "An agent that forks without end meets its own limit."),
    ("faults.disk", "issue 2 §6", "An agent that fills its disk fills only its own."),
    ("faults.sigterm", "issue 2 §6", "An agent that ignores SIGTERM is closed promptly."),
    ("faults.stream-cut", "issue 2 §6", "A stream that the agent closes in the middle is an error, and the session says why."),
    ("faults.many-at-once", "issue 2 §3", "50 creates of real sandboxes at once: each answers, or is 429 with Retry-After."),
    ("faults.client-leaves", "issue 2 §6", "A client that leaves mid-stream cancels the agent's work and leaks nothing."),
    ("faults.client-crawls", "issue 2 §6", "A client that reads a byte at a time slows its own agent; the server's memory stays flat."),
    ("faults.paused", "issue 2 §3", "A request to a paused session answers at once; a stream through a pause goes on."),
    ("faults.time-out", "issue 2 §3", "A time-out in mid-stream is a cut stream, or a pause after which it goes on."),
    ("faults.wrong-door", "issue 2 §6", "Closed port, unknown sandbox, bad token, bad port, broken JSON and a large body are told apart."),
    (
        "faults.killed-inside",
        "issue 2 §6",
        "`kill -9` of guest or agent at start, in a call, in a stream, while paused: the caller sees why.",
    ),
    ("faults.killed-keeper", "issue 2 §3", "`kill -9` of the keeper cuts no stream and loses no session."),
    ("faults.killed-server", "issue 2 §6", "`kill -9` of the server loses no session, whatever it was doing."),
    ("faults.full-disk", "issue 2 §6", "A full disk refuses what is new in a sentence, ends nothing that runs, and passes."),
    ("faults.nothing-left", "issue 2 §3", "SIGTERM in the midst of streams, starts and pauses leaves no process, mount, group, directory."),
    ("faults.secrets", "DESIGN §5", "No secret of the platform is in an agent's environment, /proc, answers, any argv or the log."),
    ("faults.one-server", "issue 2 §3", "A second server on the directory is refused, and disturbs no session of the first."),
]
