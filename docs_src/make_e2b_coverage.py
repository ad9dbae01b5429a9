"""Write docs/e2b-coverage.md from the walk that tests take through the public e2b client."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.e2b_face import ASYNC, SYNC, methods  # noqa: E402 (after the path)
from support.e2b_tour import NOT_SERVED  # noqa: E402

PAGE = ROOT / "docs" / "e2b-coverage.md"
INTRODUCTION = """\
# What of the E2B client works

Every public method of the `e2b` package ({version}), in both of its faces, with its state. The table is written by
`docs_src/make_e2b_coverage.py` from what `tests/flow/test_sandbox_tour.py` obeys: *works* means that the test called the method of the
unmodified package against a platform with real sandboxes and looked at what came of it. `ppio_sandbox.Sandbox` and its kin are the same
classes under PPIO's names. The JavaScript package is walked through by `tests/flow/test_sandbox_javascript.py`.

| method | `Sandbox` … | `AsyncSandbox` … |
|---|---|---|
"""


def rendered(_: str = "") -> str:
    """Return the page's text, whatever it says today."""
    faces = methods(SYNC), methods(ASYNC)
    rows = [f"| `{name}` | {' | '.join(_state(name, face) for face in faces)} |\n" for name in sorted(faces[0] | faces[1], key=str.lower)]
    return INTRODUCTION.format(version=version("e2b")) + "".join(rows)


def _state(name: str, face: set[str]) -> str:
    if name not in face:
        return "-"
    return f"no: {NOT_SERVED[name]}" if name in NOT_SERVED else "works"


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
