"""Every public promise as a record: what we say in issues, seeds and docs, each with the tests that prove it.

A record without a test fails `tests/unit/test_requirements.py`, and so does a test that names an unknown record. A gap is a
record whose `gap` says in a sentence why it is not kept yet; it needs no test, and the docs list it.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass

import promises


@dataclass(frozen=True, slots=True)
class Promise:
    """`id` is `area.what`; `source` names the document and section; `text` is one sentence."""

    id: str
    source: str
    text: str
    gap: str | None = None


def all_promises() -> dict[str, Promise]:
    """Return the records of every module in tests/promises by id."""
    found: dict[str, Promise] = {}
    for module in pkgutil.iter_modules(promises.__path__):
        rows = importlib.import_module(f"promises.{module.name}").PROMISES
        for id_, source, text, *gap in rows:
            if id_ in found:
                message = f"two promises are called {id_}"
                raise ValueError(message)
            found[id_] = Promise(id_, source, text, gap[0] if gap else None)
    return found
