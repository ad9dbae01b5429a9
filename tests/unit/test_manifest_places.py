"""The manifest as text: what a program changes in it, and what it leaves alone."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ppio_sandbox.cli import places

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff"), max_size=30)
TEXT = """\
# mine
metadata:  # who
  name: a   # short
  version: "1"
spec:
  entrypoint: agent.py
  # the end
"""
EXISTING = [("metadata", "name"), ("metadata", "version"), ("spec", "entrypoint")]
NEW = [("metadata", "description"), ("spec", "runtime", "timeout"), ("spec", "runtime", "memory_limit")]


@pytest.mark.promise("cli.configure")
@given(values=st.dictionaries(st.sampled_from(EXISTING + NEW), WORDS | st.integers(), min_size=1))
def test_what_is_set_is_read_again_and_every_comment_stays(values: dict[tuple[str, ...], object]) -> None:
    after = places.with_values(TEXT, values)
    read = yaml.safe_load(after)
    expected = yaml.safe_load(TEXT)
    for keys, value in values.items():
        section = expected
        for key in keys[:-1]:
            section = section.setdefault(key, {})
        section[keys[-1]] = value
    assert read == expected
    for comment in ("# mine\n", "  # who\n", "   # short\n", "  # the end\n"):
        assert comment in after
