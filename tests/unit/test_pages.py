"""Lists in pages: what is read and what is deleted meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkit.wire.errors import ApiError
from sandyard.web.pages import newest_first

Entry = tuple[float, str]
ENTRIES = st.lists(st.tuples(st.floats(0, 2e9), st.text("abc", min_size=1, max_size=3)), unique=True, max_size=12)


def itself(entry: Entry) -> Entry:
    return entry


@pytest.mark.promise("sandboxes.pages")
@given(entries=ENTRIES, limit=st.integers(1, 4), gone=st.sets(st.integers(0, 11)))
def test_who_deletes_what_was_read_reads_everything_once(entries: list[Entry], limit: int, gone: set[int]) -> None:
    left, seen, token = list(entries), list[Entry](), None
    while True:
        page, token = newest_first(left, itself, limit, token)
        seen += page
        left = [entry for entry in left if entry not in page or entries.index(entry) not in gone]
        if token is None:
            break
    assert seen == sorted(entries, reverse=True)


@pytest.mark.promise("sandboxes.pages")
@pytest.mark.parametrize("token", ["nowhere", "_", "1,5_a", "x_1"])
def test_a_token_that_is_none_of_ours_is_refused(token: str) -> None:
    with pytest.raises(ApiError, match="nextToken"):
        newest_first([(1.0, "a")], itself, 1, token)
