"""The code interpreter: what its clients see, and what can go wrong in it."""

_ISSUE = "issue 4 §6"
_WIRE = "reference/sandbox-protocol §5"

PROMISES = [
    ("interpreter.template", "issue 4 §5", "`code-interpreter-v1` is made on first use, with Python, bash, JavaScript and TypeScript."),
    ("interpreter.state", _ISSUE, "Variables live from one execution to the next; executions are counted; two sandboxes share nothing."),
    ("interpreter.error", _ISSUE, "An exception comes with its name, value and traceback."),
    ("interpreter.formats", _ISSUE, "Results come in every format of Jupyter's and in E2B's `data`; what has no name is extra."),
    ("interpreter.charts", _ISSUE, "A figure of matplotlib comes as png and with its data: line, scatter, bar, pie, box, several of them."),
    ("interpreter.streaming", _ISSUE, "What is printed is told while the code still runs, from programs and descriptors, too."),
    ("interpreter.environment", _WIRE, "Variables of one execution hold for that only; those of the sandbox hold always."),
    ("interpreter.contexts", _WIRE, "Contexts are made (language, directory), listed without the default one, restarted and removed; what is unknown is a 404 with text."),
    ("interpreter.languages", _ISSUE, "Code runs in the language that is asked for; of one without a kernel it is said which there are."),
    ("interpreter.interrupt", _ISSUE, "A caller who leaves, or whose time is out, interrupts the code; variables stay, and the next execution runs."),
    ("interpreter.death", _ISSUE, "An execution whose kernel ended says so, and the next one has a new kernel."),
    ("interpreter.flood", "issue 4 §8", "A gigabyte of output passes through in constant memory, and none of it is lost."),
    ("interpreter.default_timeout", _ISSUE, "Code may run for 300 seconds where nothing else is said, in all faces of the client."),
    ("interpreter.keepalive", _WIRE, "Where nothing comes for five seconds a keepalive does; no line is blank; the last says that the execution is over."),
    ("interpreter.tokens", _WIRE, "A client that sends the access token alone, by the sandbox's host name, is served; without the traffic token of a private sandbox nobody is."),
    ("interpreter.bad_requests", _WIRE, "What is no request is refused with 400 and a sentence, a context together with a language, too; the server goes on."),
    ("interpreter.warm", _ISSUE, "The default kernel is started with the sandbox: its first answer needs no start."),
    ("interpreter.names", "issue 4", "`ppio_sandbox.code_interpreter` is the public client under PPIO's names, with all that it exports."),
]  # fmt: skip
