PROMISES = [
    ("house.promises-tested", "issue 2 §1", "Every promise is a record, and each record is proved by at least one test or states its gap."),
]
