PROMISES = [
    ("house.promises-tested", "issue 2 §1", "Every promise is a record, and each record is proved by at least one test or states its gap."),
    ("house.one-version", "issue 2 §1", "The workspace has three distributions with one version, and a lock file that fits them."),
    ("house.bootstraps", "issue 2 §1", "The scripts run on a machine that has python3 but not uv, from any directory, with any HOME."),
    (
        "house.bootstraps-bare",
        "issue 2 §1",
        "They need neither pip nor venv: where these fail, uv comes as the wheel that the lock names, held to its hash.",
    ),
    ("house.untouched", "issue 2 §1", "The scripts write into the checkout only: not into HOME, not into the system."),
    ("house.says-what-is-missing", "issue 2 §1", "Where the scripts cannot go on they say what is missing in one plain sentence."),
    (
        "house.lengths",
        "shared style",
        "scripts/check fails on a function of more than 80 lines, a file of more than 400, and too few short functions.",
    ),
    ("house.ci", "issue 2 §1", "The continuous integration calls scripts/check and the README's test command, and prepares nothing."),
    ("docs.two-languages", "issue 2 §1", "The README stands in English and Chinese, with the same commands and the same code."),
    ("docs.run", "shared style", "The code that the README shows is a file of docs_src that the tests run."),
    ("docs.errors", "shared style", "The page of errors names every error of the wire with its HTTP status and whose fault it is."),
    ("docs.links", "shared style", "Every link from a page of the documentation to a file of the repository leads somewhere."),
    ("examples.hello", "issue 2 §5", "The hello agent of ten lines answers."),
    (
        "examples.analyst",
        "issue 2 §5",
        "The analyst reads a table of thousands of rows that the caller passes, streams its findings and remembers the table.",
    ),
    (
        "examples.researcher",
        "issue 2 §5",
        "The researcher is a LangGraph graph with a tool loop that streams the tokens of an OpenAI-compatible model.",
    ),
    (
        "examples.model-server",
        "issue 2 §5",
        "The scripted model server speaks OpenAI's chat completions: whole and streamed, with tool calls.",
    ),
    ("demo.whole-story", "issue 2 §5", "scripts/demo tells the whole story with every step checked, and ends with status 0."),
]
