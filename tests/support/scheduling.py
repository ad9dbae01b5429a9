"""Which tests one worker runs together where several run file by file (`--dist loadfile`)."""

from __future__ import annotations

from xdist.scheduler.loadfile import LoadFileScheduling

TOGETHER = ("tests/flow/test_interpreter_",)
"""Beginnings of paths: files that share something dear, here the code interpreter's template, which a worker's platform builds once."""


class ByFile(LoadFileScheduling):
    """xdist's, with some files taken for one."""

    def _split_scope(self, nodeid: str) -> str:
        return next((beginning for beginning in TOGETHER if nodeid.startswith(beginning)), super()._split_scope(nodeid))
