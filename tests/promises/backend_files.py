PROMISES = [
    ("files.writable", "issue 4 §5", "A writable system can be changed everywhere, and nothing of it reaches the host or another sandbox."),
    ("files.no_secrets", "issue 4 §5", "What a writable system shows of the host's /etc holds no secret of it."),
    ("files.root", "issue 4 §5", "Where uids can be mapped there is a root inside, with power over nothing outside."),
    ("files.root_limits", "issue 4 §7", "The root inside cannot mount, make namespaces, trace, raise a limit or see another sandbox."),
    ("files.packages", "issue 4 §5", "Packages with scripts that add users install where root is mapped."),
    (
        "files.ordinary_user",
        "issue 4 §5",
        "An ordinary user's server says that its sandboxes have no root, and lets them change what they can.",
    ),
    (
        "files.saved",
        "issue 4 §2",
        "A saved sandbox holds everything that it wrote: owners, modes, links, holes, attributes, and what it removed.",
    ),
    (
        "files.restored",
        "issue 4 §2",
        "Sandboxes that start from a saved one begin with its files, copy-on-write, and do not see each other's changes.",
    ),
    ("files.saved_again", "issue 4 §2", "A restored sandbox can be saved again, and that state stands without the first."),
    ("files.saved_whole", "issue 4 §2", "A save that is cut short leaves nothing, and the sandbox runs on."),
    ("files.hostile", "issue 4 §7", "No tree that a sandbox builds leads a save outside of it."),
    ("files.limits", "issue 4 §2", "What was restored is no part of a sandbox's disk limit, what it changes is."),
    (
        "files.volumes",
        "issue 4 §1",
        "Several sandboxes share a writable directory, each under its own ids, and none of its files becomes the host root's.",
    ),
    (
        "files.image",
        "issue 4 §5",
        "A sandbox may have an image's file system, also one without a C library, a shell or the directories that it needs.",
    ),
    ("files.usage", "issue 4 §1", "What a sandbox uses of processor, memory and disk is measured, with and without control groups."),
    ("files.command_user", "issue 4 §5", "A command in a sandbox with a root runs as `user`, or as the user that is asked for."),
    ("files.guest", "issue 4 §3", "A sandbox without a command starts when its guest accepts, and lives until it is stopped."),
    (
        "files.mounted-live",
        "issue 4 §1",
        "A sandbox that lives is given directories and loses them; no link of it, nor its haste, leads a mount elsewhere.",
    ),
    (
        "files.bounded",
        "issue 4 §1",
        "A directory of bounded size holds that much whoever writes, and leaves no mount and no device, whoever is killed.",
    ),
]
