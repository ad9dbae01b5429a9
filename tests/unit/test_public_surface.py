"""The public surface is frozen: a name, a signature, a default or a field changes only together with its record."""

from __future__ import annotations

import difflib

import pytest

from support.surface import RECORD, surface


@pytest.mark.promise("sdk.surface")
def test_the_public_surface_is_as_recorded() -> None:
    recorded = RECORD.read_text(encoding="utf-8").splitlines()
    changed = list(difflib.unified_diff(recorded, surface(), "recorded", "found", lineterm="", n=1))
    assert not changed, "\n".join(["the public surface has changed; if it was meant to: cd tests && python -m support.surface", *changed])
