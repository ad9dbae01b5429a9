"""The specification's own documents."""

PROMISES = [
    (
        "seeds.documents",
        "issue 3 §1",
        "The checkout holds the specification's documents, word for word, and every Python block is accounted for.",
    ),
    (
        "seeds.samples-run",
        "issue 3 §1",
        "Every sample of the documents runs as printed, but for the known errata, against a real platform.",
    ),
    ("seeds.listings-true", "issue 3 §1", "Every interface listing of the documents is true of the code, by introspection."),
    ("seeds.aliases", "seed-resolutions 1", "The other names of the package give the same objects, never a second copy of them."),
    (
        "memory.plain-python",
        "DESIGN §5",
        "The memory back end runs an agent's file as an interpreter would: what its own source imports from the future is not the agent's.",
    ),
    ("seeds.manifest", "seed 001 §3.4", "The manifest that the documents show is read, whole."),
    ("seeds.coverage", "issue 3 §1", "The docs list every Python block with its state and, where it is not green, the reason."),
]
