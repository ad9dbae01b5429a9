"""The inside of a sandbox: its first process, its system-call filter, its cgroup; and what we say when a sandbox cannot start."""

PROMISES = [
    (
        "seccomp.refuses",
        "issue 2 §3 process",
        "The calls that reach the kernel past the namespaces are refused to every process of a sandbox.",
    ),
    ("seccomp.namespaces", "issue 2 §3 process", "No process of a sandbox makes or joins a namespace."),
    ("seccomp.sockets", "reference/process-backend §7", "A sandbox has Unix, IP and netlink-route sockets, and no other family."),
    ("seccomp.foreign", "reference/process-backend §7", "Another instruction set's system calls do not get round the filter."),
    ("seccomp.ordinary-code", "issue 2 §3 process", "Threads, event loops, subprocesses and memfd work under the filter."),
    ("cgroups.limits", "issue 2 §3 process", "Memory, processor and process limits are enforced where cgroups allow it."),
    (
        "cgroups.honest",
        "issue 2 §3 process",
        "Where cgroups do not allow a limit, a plain sentence says so, and it is not reported as enforced.",
    ),
    ("cgroups.freeze", "issue 2 §7", "Freezing returns when the kernel confirms it, and a frozen group uses no processor time."),
    ("cgroups.kill", "issue 2 §6", "Killing a group leaves no process of it, frozen or forking."),
    ("cgroups.nothing-left", "issue 2 §3 lifecycle", "No cgroup is left when a sandbox and its platform have ended."),
    ("diagnose.names-the-knob", "issue 2 §3 process", "Where a sandbox cannot start, the sentence names the setting that forbids it."),
    (
        "guest.exit-report",
        "issue 2 §3 guest",
        "When the command ends, its exit code or signal and its last output are reported, and the sandbox ends.",
    ),
    (
        "guest.first-process",
        "issue 2 §3 guest",
        "The guest is the first process, reaps what others leave, and ends when its command ends, whoever still runs.",
    ),
    ("guest.agent-first", "issue 2 §3 guest", "The guest starts the agent before it imports anything heavy."),
    ("guest.not-dumpable", "issue 2 §3 guest", "Nothing in the sandbox reads the guest's memory or descriptors."),
    ("guest.no-descriptors", "issue 2 §3 guest", "The agent inherits its three standard descriptors and no other."),
    (
        "guest.listening",
        "issue 2 §3 guest",
        "The guest says once that the agent's port is open, and never for an agent that does not listen.",
    ),
    ("guest.port", "issue 2 §3 guest", "The guest is reached like any port of the sandbox, whatever its clients send."),
    ("guest.output-bounded", "issue 2 §6", "An agent that prints 100 MB goes on running, and its last output is kept."),
    ("guest.sigterm", "issue 2 §6", "A sandbox that is asked to end tells its agent, and ends also when the agent ignores it."),
    ("guest.idle", "issue 2 §7", "An idle guest uses no processor time."),
    ("guest.output-untrusted", "issue 2 §3 guest", "Whatever stands in an output file, reading it is bounded and does not fail."),
    (
        "isolation.sweep",
        "issue 2 §3 process",
        "Whatever can be listed inside a sandbox: nothing is writable, no device or socket is there, but what is meant.",
    ),
]
