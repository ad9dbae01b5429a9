"""What `plan` says for each pair of wish and fact."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandyard.domain.sandboxes import Isolation, Sandbox, SandboxState
from sandyard.domain.specs import Found
from sandyard.services.reconcile import INTERRUPTED, LOST, Action, plan


def row(state: SandboxState, id_: str = "s1") -> Sandbox:
    return Sandbox(id=id_, owner="o", template_id="t", build_id="b", state=state, created_at=0, ends_at=0)


def found(*, frozen: bool, id_: str = "s1") -> Found:
    return Found(sandbox_id=id_, frozen=frozen, isolation=Isolation(backend="memory", user="none"))


@pytest.mark.promise("serve.reconcile")
@pytest.mark.parametrize(
    ("state", "fact", "expected"),
    [
        (SandboxState.RUNNING, found(frozen=False), None),
        (SandboxState.PAUSED, found(frozen=True), None),
        (SandboxState.RUNNING, found(frozen=True), Action("thaw", "s1")),
        (SandboxState.PAUSED, found(frozen=False), Action("freeze", "s1")),
        (SandboxState.RUNNING, None, Action("fail", "s1", LOST)),
        (SandboxState.PAUSED, None, Action("fail", "s1", LOST)),
        (SandboxState.STARTING, None, Action("fail", "s1", INTERRUPTED)),
        (SandboxState.STARTING, found(frozen=False), Action("fail", "s1", INTERRUPTED)),
    ],
)
def test_each_row_is_made_true(state: SandboxState, fact: Found | None, expected: Action | None) -> None:
    facts = {} if fact is None else {"s1": fact}
    assert plan({"s1": row(state)}, facts, {"s1"}, ()) == ([] if expected is None else [expected])
    assert plan({"s1": row(state)}, facts, {"s1"}, {"s1"}) == []


@pytest.mark.promise("sandboxes.pause-files")
def test_what_is_paused_without_memory_has_no_processes() -> None:
    saved = replace(row(SandboxState.PAUSED), saved=True)
    assert plan({"s1": saved}, {}, {"s1"}, ()) == []
    assert plan({"s1": saved}, {"s1": found(frozen=True)}, {"s1"}, ()) == [Action("tidy", "s1")]
    assert plan({"s1": saved}, {"s1": found(frozen=False)}, {"s1"}, {"s1"}) == []


@pytest.mark.promise("serve.reconcile")
def test_what_has_no_row_is_stopped_unless_it_came_meanwhile_or_is_being_built() -> None:
    facts = {id_: found(frozen=False, id_=id_) for id_ in ("stray", "new", "build")}
    assert plan({}, facts, {"new"}, {"build"}) == [Action("stop", "stray")]
