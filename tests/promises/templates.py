"""Templates by steps, built-in ones, images, files, tags."""

PROMISES = [
    ("template.base", "issue 4 §5", "`base` is there for every owner without a build: the host's system, the user `user` and /home/user."),
]  # fmt: skip
