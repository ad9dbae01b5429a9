"""The code interpreter through the real e2b-code-interpreter package, unmodified, in both its faces."""

# pyright: reportUnknownMemberType=false
# The client declares its types in part only.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
import e2b
import pytest
from e2b_code_interpreter import AsyncSandbox, OutputMessage, Sandbox
from e2b_code_interpreter.charts import BarChart, BoxAndWhiskerChart, Chart, LineChart, PieChart, ScaleType, ScatterChart, SuperChart

from support.interpreter import interpreter, options

if TYPE_CHECKING:
    from support.interpreter import Interpreter
    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]

FORMATS = """
from IPython.display import display, HTML, SVG, Markdown, Latex, JSON, Javascript
for shown in (HTML("<b>b</b>"), Markdown("*m*"), Latex("$l$"), JSON({"j": 1}), Javascript("1"), SVG("<svg xmlns='http://www.w3.org/2000/svg'/>")):
    display(shown)
display({"image/jpeg": "anBlZw==", "application/pdf": "cGRm", "application/x-own": "own"}, raw=True)
[1, {"two": 2}]
"""
FRAME = "import pandas\npandas.DataFrame({'when': pandas.to_datetime(['2026-01-01']), 'n': [1]})"
BOXES: list[dict[str, Any]] = [
    {"label": "1", "min": 78, "first_quartile": 85, "median": 88, "third_quartile": 90, "max": 92, "outliers": []},
    {"label": "2", "min": 84, "first_quartile": 84.75, "median": 88, "third_quartile": 90.5, "max": 95, "outliers": [76]},
]
DRAWN: dict[str, tuple[type[Chart], list[dict[str, Any]]]] = {
    "ax.plot([1, 2], [3, 4], label='l')": (LineChart, [{"label": "l", "points": [[1, 3], [2, 4]]}]),
    "ax.scatter([1, 2], [3, 4], label='s')": (ScatterChart, [{"label": "s", "points": [[1, 3], [2, 4]]}]),
    "ax.bar(['a', 'b'], [3, 4])": (
        BarChart,
        [{"label": "a", "group": "Group 0", "value": 3}, {"label": "b", "group": "Group 0", "value": 4}],
    ),
    "ax.pie([1, 3], labels=['a', 'b'])": (
        PieChart,
        [{"label": "a", "angle": 90, "radius": 1}, {"label": "b", "angle": 270, "radius": 1}],
    ),
    "ax.boxplot([[85, 90, 78, 92, 88], [95, 89, 76, 91, 84, 87]], patch_artist=True)": (BoxAndWhiskerChart, BOXES),
}
"""What is drawn, what kind of chart it is for E2B's client, and the data that come with it."""

ENDLESS = [
    ("python", "kept = 'kept'", "while True: pass", "print(kept)"),
    ("bash", "kept=kept", "sleep 1000", "echo $kept"),
    ("js", "let kept = 'kept'", "while (true) {}", "console.log(kept)"),
]
"""A language, what sets a variable, what never ends, and what prints the variable."""


@pytest.mark.promise("interpreter.state", "interpreter.template", "interpreter.warm")
async def test_variables_stay_and_sandboxes_share_nothing(interpreters: Platform) -> None:
    async with interpreter(interpreters) as one, interpreter(interpreters) as other:
        first = await one.sandbox.run_code("x = 41")
        assert (first.results, first.execution_count) == ([], 1)
        second = await one.sandbox.run_code("x + 1")
        assert (second.text, second.execution_count, second.results[0].is_main_result) == ("42", 2, True)
        assert (await one.sandbox.run_code("'it is text'")).text == "it is text"
        missing = (await other.sandbox.run_code("x")).error
        assert missing is not None
        assert (missing.name, missing.value) == ("NameError", "name 'x' is not defined")
        assert (await one.sandbox.run_code("import os; os.getcwd()")).text == "/home/user"
        assert "/opt/interpreter/bin/python" in "".join((await one.sandbox.run_code("!which python; pip --version")).logs.stdout)


@pytest.mark.promise("interpreter.error")
async def test_an_exception_has_name_value_and_traceback(shared_interpreter: Interpreter) -> None:
    seen: list[str] = []
    execution = await shared_interpreter.sandbox.run_code("def fail():\n    1 / 0\nfail()", on_error=lambda error: seen.append(error.name))
    assert execution.error is not None
    assert (execution.error.name, execution.error.value) == ("ZeroDivisionError", "division by zero")
    assert "in fail()" in execution.error.traceback
    assert "\x1b" not in execution.error.traceback
    assert seen == ["ZeroDivisionError"]
    wrong = (await shared_interpreter.sandbox.run_code("def")).error
    assert wrong is not None
    assert wrong.name == "SyntaxError"


@pytest.mark.promise("interpreter.formats")
async def test_results_in_every_format(shared_interpreter: Interpreter) -> None:
    *shown, main = (await shared_interpreter.sandbox.run_code(FORMATS)).results
    html, markdown, latex, tree, script, svg, raw = shown
    assert (html.html, markdown.markdown, latex.latex, tree.json, script.javascript) == ("<b>b</b>", "*m*", "$l$", {"j": 1}, "1")
    assert svg.svg is not None
    assert svg.svg.startswith("<svg")
    assert (raw.jpeg, raw.pdf, raw.extra) == ("anBlZw==", "cGRm", {"application/x-own": "own"})
    assert (main.is_main_result, main.json, main.text) == (True, [1, {"two": 2}], "[1, {'two': 2}]")
    odd = (await shared_interpreter.sandbox.run_code("display({'text/plain': 5, 'image/png': None}, raw=True); print('on')")).logs
    assert odd.stdout == ["on\n"]
    frame = (await shared_interpreter.sandbox.run_code(FRAME)).results[0]
    assert frame.data == {"when": ["2026-01-01T00:00:00"], "n": [1]}
    assert frame.html is not None
    assert "<table" in frame.html


@pytest.mark.promise("interpreter.charts")
async def test_figures_come_with_their_data(shared_interpreter: Interpreter) -> None:
    for drawing, (kind, elements) in DRAWN.items():
        chart = await _chart(shared_interpreter, f"fig, ax = plt.subplots()\n{drawing}")
        assert (type(chart), chart.to_dict()["elements"]) == (kind, elements), drawing
    unread = await shared_interpreter.sandbox.run_code("plt.boxplot([[1, 2, 3], [4, 5, 6]], patch_artist=True)\nplt.show()")
    assert [(bool(result.png), result.chart) for result in unread.results] == [(True, None)], "e2b-charts cannot read boxes of one size"
    both = await _chart(shared_interpreter, "fig, (ax, bx) = plt.subplots(1, 2)\nax.plot([1, 2])\nbx.bar(['a'], [1])\nplt.suptitle('both')")
    assert isinstance(both, SuperChart)
    assert (both.title, [type(part) for part in both.elements]) == ("both", [LineChart, BarChart])
    assert [len(part.elements) for part in both.elements] == [1, 1]
    line = await _chart(
        shared_interpreter, "plt.plot([1, 10], [3, 4])\nplt.title('t')\nplt.xlabel('x (s)')\nplt.ylabel('y')\nplt.xscale('log')"
    )
    assert isinstance(line, LineChart)
    assert (line.title, line.x_label, line.x_unit, line.y_label, line.y_unit) == ("t", "x (s)", "s", "y", None)
    assert (line.x_scale, line.y_scale, len(line.x_ticks)) == (ScaleType.LOG, ScaleType.LINEAR, len(line.x_tick_labels))


async def _chart(of: Interpreter, drawing: str) -> Chart:
    execution = await of.sandbox.run_code(f"import matplotlib.pyplot as plt\n{drawing}\nplt.show()")
    assert execution.error is None, execution.error
    (result,) = execution.results
    assert result.png is not None
    assert result.png.startswith("iVBOR")
    assert result.chart is not None
    return result.chart


@pytest.mark.promise("interpreter.streaming")
async def test_output_is_told_while_the_code_runs(shared_interpreter: Interpreter) -> None:
    sandbox = shared_interpreter.sandbox
    heard: list[str] = []

    async def answer(message: OutputMessage) -> None:
        heard.append(message.line)
        assert message.timestamp > 1_700_000_000 * 10**9
        if message.line == "ready?\n":
            await sandbox.files.write("/tmp/go", "")

    await sandbox.commands.run("rm -f /tmp/go")
    code = "import os, time\nprint('ready?')\nwhile not os.path.exists('/tmp/go'): time.sleep(0.01)\nprint('go')"
    execution = await sandbox.run_code(code, on_stdout=answer, timeout=60)
    assert heard == execution.logs.stdout == ["ready?\n", "go\n"]
    mixed = await sandbox.run_code("import os, sys\nos.system('echo program; echo ä >&2')\nprint('own', file=sys.stderr);")
    assert "".join(mixed.logs.stdout) == "program\n"
    assert "".join(mixed.logs.stderr) in ("ä\nown\n", "own\nä\n")


@pytest.mark.promise("interpreter.environment")
async def test_variables_of_one_execution_and_of_the_sandbox(shared_interpreter: Interpreter) -> None:
    sandbox = shared_interpreter.sandbox
    for language, code in (
        ("python", "import os; print(os.environ.get('V'), os.environ['OF_SANDBOX'])"),
        ("bash", "echo ${V:-None} $OF_SANDBOX"),
    ):
        within = await sandbox.run_code(code, language=language, envs={"V": "it's", "OF_SANDBOX": "now"})
        assert within.logs.stdout == ["it's now\n"], within
        assert (await sandbox.run_code(code, language=language)).logs.stdout == ["None always\n"]
    script = "process.env.V ?? 'none'"
    assert (await sandbox.run_code(script, language="js", envs={"V": "it's"})).text == "it's"
    assert (await sandbox.run_code(script, language="js")).text == "none"


@pytest.mark.promise("interpreter.contexts")
async def test_contexts_are_apart(interpreters: Platform) -> None:
    async with interpreter(interpreters) as started:
        sandbox = started.sandbox
        await sandbox.commands.run("mkdir work")
        assert await sandbox.list_code_contexts() == []
        context = await sandbox.create_code_context(cwd="/home/user/work")
        assert (context.language, context.cwd) == ("python", "/home/user/work")
        assert [found.id for found in await sandbox.list_code_contexts()] == [context.id]
        await sandbox.run_code("x = 'default'")
        await sandbox.run_code("x = 'own'", context=context)
        assert (await sandbox.run_code("x")).text == "default"
        assert (await sandbox.run_code("import os; x + os.getcwd()", context=context)).text == "own/home/user/work"
        await sandbox.restart_code_context(context)
        error = (await sandbox.run_code("x", context=context)).error
        assert error is not None
        assert error.name == "NameError"
        await sandbox.remove_code_context(context)
        assert await sandbox.list_code_contexts() == []
        for asking in (
            sandbox.run_code("1", context=context),
            sandbox.remove_code_context(context),
            sandbox.restart_code_context("no-such"),
        ):
            with pytest.raises(e2b.NotFoundException, match="not found"):
                await asking
        with pytest.raises(e2b.SandboxException, match="'/nowhere' is not there"):
            await sandbox.create_code_context(cwd="/nowhere")


@pytest.mark.promise("interpreter.contexts", "interpreter.death")
async def test_a_restart_ends_what_runs(shared_interpreter: Interpreter) -> None:
    sandbox = shared_interpreter.sandbox
    context = await sandbox.create_code_context()

    async def restart(_: OutputMessage) -> None:
        await sandbox.restart_code_context(context)

    execution = await sandbox.run_code("print('on')\nimport time; time.sleep(300)", context=context, on_stdout=restart, timeout=60)
    assert execution.error is not None
    assert "restarted" in execution.error.value
    assert (await sandbox.run_code("1 + 1", context=context)).text == "2"
    await sandbox.remove_code_context(context)


@pytest.mark.promise("interpreter.languages")
async def test_other_languages(shared_interpreter: Interpreter) -> None:
    sandbox = shared_interpreter.sandbox
    assert (await sandbox.run_code("value=kept; echo $((6 * 7))", language="bash")).logs.stdout == ["42\n"]
    assert (await sandbox.run_code("echo $value", language="bash")).logs.stdout == ["kept\n"]
    assert (await sandbox.run_code("false", language="bash")).error is not None
    script = await sandbox.run_code("console.log('one'); console.error('two'); let kept = 41; kept + 1", language="javascript")
    assert (script.logs.stdout, script.logs.stderr, script.text) == (["one\n"], ["two\n"], "42")
    assert (await sandbox.run_code("await Promise.resolve(kept)", language="JS")).text == "41"
    counted = await sandbox.run_code("for (let number = 0; number < 3000; number++) console.log(number)", language="js")
    assert "".join(counted.logs.stdout).split() == [str(number) for number in range(3000)]
    typed = await sandbox.run_code("const message: string = 'typed'; console.log(message)", language="ts")
    assert typed.logs.stdout == ["typed\n"]
    failed = (await sandbox.run_code("throw new TypeError('no')", language="js")).error
    assert failed is not None
    assert (failed.name, failed.value) == ("TypeError", "no")
    with pytest.raises(e2b.SandboxException, match=r"No kernel for the language 'r' is installed.*bash, javascript, python, typescript"):
        await sandbox.run_code("1", language="r")


@pytest.mark.promise("interpreter.interrupt")
async def test_time_out_interrupts_and_variables_stay(shared_interpreter: Interpreter) -> None:
    sandbox = shared_interpreter.sandbox
    for language, keep, endless, show in ENDLESS:
        await sandbox.run_code(keep, language=language, timeout=60)
        with pytest.raises(e2b.TimeoutException):
            await sandbox.run_code(endless, language=language, timeout=2)
        again = await sandbox.run_code(show, language=language, timeout=60)
        assert again.logs.stdout == ["kept\n"], again


@pytest.mark.promise("interpreter.interrupt")
async def test_what_does_not_let_itself_be_interrupted_is_ended_where_it_has_to_be(shared_interpreter: Interpreter) -> None:
    sandbox = shared_interpreter.sandbox
    await sandbox.run_code("let lost = 1", language="ts", timeout=60)
    with pytest.raises(e2b.TimeoutException):
        await sandbox.run_code("await new Promise((done) => setTimeout(done, 1000000))", language="ts", timeout=2)
    again = await sandbox.run_code("console.log('new')", language="ts", timeout=60)
    assert again.logs.stdout == ["new\n"]
    assert "did not let itself be interrupted" in "".join(again.logs.stderr)


@pytest.mark.promise("interpreter.death")
async def test_a_kernel_that_ends_is_told_and_replaced(interpreters: Platform) -> None:
    async with interpreter(interpreters) as started:
        sandbox = started.sandbox
        ended = await sandbox.run_code("x = 1\nprint('last words', flush=True)\nimport os, time; time.sleep(0.3); os._exit(3)")
        assert ended.error is not None
        assert (ended.error.name, ended.logs.stdout) == ("UnexpectedEndOfExecution", ["last words\n"])
        assert "exit code 3" in ended.error.value
        after = await sandbox.run_code("'x' in globals()")
        assert (after.text, after.logs.stderr) == ("False", [])
        await sandbox.run_code("import os, threading; threading.Timer(0.3, os._exit, [4]).start()")
        await sandbox.commands.run("while pgrep -f 'interpreter.inside pytho[n]' > /tmp/kernels; do sleep 0.05; done", timeout=30)
        later = await sandbox.run_code("1 + 1")
        assert later.text == "2"
        assert "exit code 4" in "".join(later.logs.stderr)


@pytest.mark.promise("interpreter.tokens")
async def test_a_private_sandbox_takes_its_traffic_token(interpreters: Platform) -> None:
    async with interpreter(interpreters, network={"allow_public_traffic": False}) as started:
        assert (await started.sandbox.run_code("1 + 1")).text == "2"
        context = await started.sandbox.create_code_context()
        assert [found.id for found in await started.sandbox.list_code_contexts()] == [context.id]
        async with started.client() as client:
            assert (await client.get("/contexts")).status_code == 403


@pytest.mark.promise("interpreter.state", "interpreter.interrupt")
async def test_the_sync_face(interpreters: Platform) -> None:
    def work() -> None:
        with Sandbox.create(timeout=300, **options(interpreters)) as sandbox:
            results: list[str | None] = []
            sandbox.run_code("x = 20")
            assert sandbox.run_code("x + 1", on_result=lambda result: results.append(result.text)).text == "21"
            assert results == ["21"]
            context = sandbox.create_code_context()
            assert sandbox.run_code("'x' in globals()", context=context).text == "False"
            sandbox.restart_code_context(context)
            sandbox.remove_code_context(context)
            with pytest.raises(e2b.TimeoutException):
                sandbox.run_code("import time; time.sleep(300)", timeout=2)
            assert sandbox.run_code("x", timeout=60).text == "20"

    await anyio.to_thread.run_sync(work)


@pytest.mark.promise("interpreter.names")
async def test_the_face_with_ppios_names(interpreters: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    import e2b_code_interpreter

    from ppio_sandbox import code_interpreter

    for vendor in ("PPIO", "E2B"):
        for name in ("API_KEY", "API_URL", "SANDBOX_URL", "DOMAIN", "DEBUG"):
            monkeypatch.delenv(f"{vendor}_{name}", raising=False)
    for name in ("API_KEY", "API_URL", "SANDBOX_URL"):
        monkeypatch.setenv(f"PPIO_{name}", interpreters.env[f"PPIO_{name}"])
    public = {name for name in dir(e2b_code_interpreter) if not name.startswith("_")}
    assert public <= set(dir(code_interpreter))
    assert issubclass(code_interpreter.AsyncSandbox, AsyncSandbox)
    sandbox = await code_interpreter.AsyncSandbox.create(timeout=60)
    async with sandbox:
        assert (await sandbox.run_code("1 + 1")).text == "2"

    def work() -> str | None:
        with code_interpreter.Sandbox.create(timeout=60) as started:
            return started.run_code("2 + 2").text

    assert await anyio.to_thread.run_sync(work) == "4"
