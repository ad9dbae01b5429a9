PROMISES = [
    ("egress.private", "issue 2 §3", "Private addresses of the host's side are refused after resolving, in every spelling and embedding."),
    ("egress.malformed", "issue 2 §3", "What is no well-formed request to a proxy is refused with a sentence and never resolved."),
    (
        "egress.allow",
        "issue 2 §3",
        "An allow entry (name, wildcard, address, network, each with or without port) admits exactly what it names.",
    ),
    ("egress.deny", "issue 2 §3", "Deny beats allow, also for addresses behind an allowed name."),
    ("egress.refusal", "issue 2 §3", "A refusal stands in the reason phrase and in the body."),
    ("egress.resolve-once", "issue 2 §3", "A name is resolved once and exactly that address is connected to."),
    ("egress.tunnel", "issue 2 §3", "CONNECT carries bytes both ways, with half-close, counted per sandbox."),
    ("egress.request", "issue 2 §3", "An absolute http:// request is framed anew; one connection serves one."),
    ("egress.unreachable", "issue 2 §3", "A destination that cannot be reached is 502 or 504 with a sentence."),
    ("egress.limits", "issue 2 §3", "Heads, time and connections per sandbox are bounded."),
    ("egress.change", "issue 4 §1", "A sandbox's policy may change while it runs: connections to what is refused from then on are cut."),
    (
        "egress.owner",
        "sandbox-protocol §1.3",
        "An owner narrows what his sandbox may reach: his allow list, by domain or network, beats his deny list; the operator's beat both.",
    ),
    ("egress.detach", "issue 2 §3", "Detaching a sandbox cuts its connections; attaching again replaces the policy."),
]
