"""The code interpreter's program in its pure parts: lines, statements that set variables, and callers who leave."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import e2b_code_interpreter
import pytest
from e2b_code_interpreter.constants import DEFAULT_TIMEOUT

from ppio_sandbox import code_interpreter
from sandkit.interpreter import languages
from sandkit.interpreter.outputs import END, encode, item
from sandkit.interpreter.runs import Run

pytestmark = pytest.mark.anyio

VALUES = ["plain", 'it\'s "quoted"', "$HOME `id` \\", "two\nlines", "ümlaut", ""]


@pytest.mark.promise("interpreter.formats")
def test_a_result_is_told_by_its_formats() -> None:
    data = {"text/plain": "'text'", "text/html": "<b>", "e2b/data": {"a": [1]}, "application/x-own": 1}
    told = item("execute_result", {"data": data})
    assert told == {
        "type": "result",
        "is_main_result": True,
        "text": "text",
        "html": "<b>",
        "data": {"a": [1]},
        "extra": {"application/x-own": 1},
    }
    assert item("display_data", {"data": {"text/plain": "'"}}) == {"type": "result", "is_main_result": False, "text": "'"}
    assert item("comm_open", {}) is None


@pytest.mark.promise("interpreter.keepalive")
@pytest.mark.parametrize("text", ["plain", "two\nlines", "\ud800 half", "\0", "\u2028"])
def test_an_item_is_one_line(text: str) -> None:
    line = encode({"type": "stdout", "text": text})
    assert (line.count(b"\n"), line.endswith(b"\n")) == (1, True)
    assert json.loads(line)["text"] == text


@pytest.mark.promise("interpreter.environment")
@pytest.mark.parametrize("value", VALUES)
def test_statements_set_what_they_are_told(value: str) -> None:
    shown = {
        "python": [sys.executable, "-c", f"{languages.find('python').assign({'V': value})}\nimport os; print(os.environ['V'], end='')"],
        "bash": ["bash", "-c", f'{languages.find("bash").assign({"V": value})}\nprintf %s "$V"'],
    }
    for command in shown.values():
        assert subprocess.run(command, capture_output=True, check=True, env=os.environ | {"PYTHONUTF8": "1"}).stdout.decode() == value
    assert languages.find("js").assign({"V": value, "W": None}).endswith('\ndelete process.env["W"];')


@pytest.mark.promise("interpreter.languages")
def test_languages_have_many_names() -> None:
    assert [languages.find(name).name for name in (None, "", " Python ", "JS", "ts", "sh")] == [
        "python",
        "python",
        "python",
        "javascript",
        "typescript",
        "bash",
    ]
    with pytest.raises(languages.UnknownLanguage, match="'cobol'"):
        languages.find("cobol")


@pytest.mark.promise("interpreter.interrupt")
async def test_a_caller_who_leaves_lets_go_of_whoever_waits_for_room() -> None:
    run = Run()

    async def print_much() -> None:
        for _ in range(1000):
            await run.take({"type": "stdout", "text": "x"})

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        printing = tasks.create_task(print_much())
        lines = run.lines()
        assert json.loads(await anext(lines))["text"] == "x"
        assert not printing.done()
        run.abandon()
        await printing
    assert [line async for line in lines] == []


@pytest.mark.promise("interpreter.keepalive")
async def test_the_last_line_is_the_end() -> None:
    run = Run()
    await run.take({"type": "stdout", "text": "x"})
    await run.take(END)
    assert [json.loads(line)["type"] async for line in run.lines()] == ["stdout", "end_of_execution"]


@pytest.mark.promise("interpreter.default_timeout")
def test_code_may_run_for_300_seconds_where_nothing_else_is_said() -> None:
    """The clock is the client's: the platform sets none, and says every five seconds that it is still there."""
    assert DEFAULT_TIMEOUT == 300
    assert code_interpreter.Sandbox.run_code is e2b_code_interpreter.Sandbox.run_code
    assert code_interpreter.AsyncSandbox.run_code is e2b_code_interpreter.AsyncSandbox.run_code
