PROMISES = [
    ("trust.package", "issue 2 §6", "No header of a package makes it larger than the limit, or takes the server's time for others."),
    (
        "trust.own-addresses",
        "issue 2 §3",
        "The host's own addresses are refused to sandboxes like private ones, also where they are public.",
    ),
]
