"""The inside of a sandbox: its first process, its system-call filter, its cgroup; and what we say when a sandbox cannot start."""

PROMISES = [
    ("seccomp.refuses", "issue 2 §3 process", "The calls that reach the kernel past the namespaces are refused to every process of a sandbox."),
    ("seccomp.namespaces", "issue 2 §3 process", "No process of a sandbox makes or joins a namespace."),
    ("seccomp.sockets", "reference/process-backend §7", "A sandbox has Unix, IP and netlink-route sockets, and no other family."),
    ("seccomp.foreign", "reference/process-backend §7", "Another instruction set's system calls do not get round the filter."),
    ("seccomp.ordinary-code", "issue 2 §3 process", "Threads, event loops, subprocesses and memfd work under the filter."),
    ("cgroups.limits", "issue 2 §3 process", "Memory, processor and process limits are enforced where cgroups allow it."),
    ("cgroups.honest", "issue 2 §3 process", "Where cgroups do not allow a limit, a plain sentence says so, and it is not reported as enforced."),
    ("cgroups.freeze", "issue 2 §7", "Freezing returns when the kernel confirms it, and a frozen group uses no processor time."),
    ("cgroups.kill", "issue 2 §6", "Killing a group leaves no process of it, frozen or forking."),
    ("cgroups.nothing-left", "issue 2 §3 lifecycle", "No cgroup is left when a sandbox and its platform have ended."),
]
