PROMISES = [
    ("trust.package", "issue 2 §6", "No header of a package makes it larger than the limit, or takes the server's time for others."),
    (
        "trust.own-addresses",
        "issue 2 §3",
        "The host's own addresses are refused to sandboxes like private ones, also where they are public.",
    ),
    ("trust.guest", "issue 2 §3", "A guest that was taken over harms neither keeper nor server nor neighbours by what it writes outside."),
    (
        "trust.build",
        "issue 2 §6",
        "What a build leaves or prints, however deep, long or endless, fails it with a sentence, is removed, and costs others nothing.",
    ),
    (
        "trust.kernel",
        "issue 2 §3",
        "What namespaces do not part is closed: core dump helpers, protocols that load modules, machine-wide pools, the host's keys.",
    ),
    (
        "trust.descriptors",
        "issue 2 §6",
        "No sandbox can take the server's descriptors: connections through egress are bounded for each, and for all together.",
    ),
    ("trust.turns", "issue 2 §6", "Agents that never listen do not keep others from starting."),
]
