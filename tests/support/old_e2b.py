"""A short walk with an older e2b client, run by an interpreter that has it: `python old_e2b.py`, told by the environment where to go."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import sys

import e2b


def main() -> None:
    """Life, commands, files, a terminal, copies of a sandbox, a template, in the client's synchronous face."""
    sandbox = e2b.Sandbox.create("base", timeout=120, metadata={"walk": "old"}, envs={"WORD": "hi"})
    assert sandbox.is_running()
    assert sandbox.commands.run("echo $WORD").stdout == "hi\n"
    process = sandbox.commands.run("cat", background=True, stdin=True)
    sandbox.commands.send_stdin(process.pid, "a\n")
    assert process.kill() is True
    assert sandbox.files.write("d/a.txt", "one").path == "/home/user/d/a.txt"
    assert (sandbox.files.read("d/a.txt"), [entry.name for entry in sandbox.files.list("d")]) == ("one", ["a.txt"])
    watcher = sandbox.files.watch_dir("d")
    sandbox.files.write("d/b.txt", "two")
    assert {event.name for event in watcher.get_new_events()} == {"b.txt"}
    terminal = sandbox.pty.create(e2b.PtySize(rows=24, cols=80))
    sandbox.pty.send_stdin(terminal.pid, b"exit\n")
    assert terminal.wait().exit_code == 0
    assert sandbox.get_info().metadata == {"walk": "old"}
    pages = e2b.Sandbox.list(e2b.SandboxQuery(metadata={"walk": "old"}))
    assert [row.sandbox_id for row in pages.next_items()] == [sandbox.sandbox_id]
    sandbox.set_timeout(90)
    sandbox.pause()
    again = e2b.Sandbox.connect(sandbox.sandbox_id)
    assert again.files.read("d/b.txt") == "two"
    assert again.kill() is True
    assert sandbox.is_running() is False
    sys.stdout.write("walked\n")


if __name__ == "__main__":
    main()
