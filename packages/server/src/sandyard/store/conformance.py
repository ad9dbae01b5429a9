"""The proof that ships with the store's port: what every store does, as cases that take an empty one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from sandyard.domain.errors import RowConflict
from sandyard.domain.keys import ApiKey
from sandyard.domain.sandboxes import Isolation, Network, Sandbox, SandboxEvent, SandboxState
from sandyard.domain.templates import Build, BuildKind, BuildState, LogLine, Recipe, Step, System, Template

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandyard.ports import Store

CASE_SECONDS = 30.0
RACERS = 50

CASES: dict[str, Callable[[Store], Awaitable[None]]] = {}


def _case(run: Callable[[Store], Awaitable[None]]) -> Callable[[Store], Awaitable[None]]:
    CASES[run.__name__] = run
    return run


async def run_case(case: Callable[[Store], Awaitable[None]], store: Store) -> None:
    """Run a case on an empty store within its time."""
    async with asyncio.timeout(CASE_SECONDS):
        await case(store)


def a_sandbox(number: int = 0, **fields: object) -> Sandbox:
    """Return a row; later numbers are newer."""
    sandbox = Sandbox(
        id=f"s{number}",
        owner="ann",
        template_id="t0",
        build_id="b0",
        state=SandboxState.STARTING,
        created_at=1000.0 + number,
        ends_at=2000.5,
    )
    return replace(sandbox, **fields)  # pyright: ignore[reportArgumentType] (a test's fields)


def a_template(number: int = 0, **fields: object) -> Template:
    """Return a row; later numbers are newer."""
    template = Template(id=f"t{number}", owner="ann", name=f"agent-{number}", created_at=1.0 + number, updated_at=1.0 + number)
    return replace(template, **fields)  # pyright: ignore[reportArgumentType] (a test's fields)


def a_build(number: int = 0, **fields: object) -> Build:
    """Return a row of template `t0`; later numbers are newer."""
    build = Build(
        id=f"b{number}", template_id="t0", state=BuildState.PENDING, manifest={}, package=f"packages/b{number}", created_at=1.0 + number
    )
    return replace(build, **fields)  # pyright: ignore[reportArgumentType] (a test's fields)


@_case
async def a_sandbox_comes_back_as_it_was(store: Store) -> None:
    plain = a_sandbox(0)
    full = a_sandbox(
        1,
        state=SandboxState.FAILED,
        reason="The agent exited with code 1",
        on_timeout="pause",
        public=True,
        metadata={"user": "ü", "": ""},
        isolation=Isolation(backend="process", user="own", namespaces=("pid", "net"), seccomp=True, limits=("memory",), notes=("a", "b")),
        exit_code=-9,
        output="line\nline \x00 \U0001f600",
        idempotency_key="key",
        timeout=7.5,
        auto_resume=True,
        keep_memory=False,
        network=Network(internet=False, allow_out=("a.test",), deny_out=("0.0.0.0/0",), mask_request_host="h", https_ports=(8443,)),
        sealed_env="v1.a.b.c",
        restore="state",
        saved=True,
        origin="s9",
    )
    for sandbox in (plain, full):
        await store.sandboxes.add(sandbox)
        assert await store.sandboxes.get(sandbox.id) == sandbox
    assert await store.sandboxes.get("unknown") is None


@_case
async def a_build_by_steps_comes_back_as_it_was(store: Store) -> None:
    await store.templates.add_template(a_template(0, public=True))
    assert await store.templates.get_template("t0") == a_template(0, public=True)
    draft = a_build(0, kind=BuildKind.STEPS, package="", system=System(cpu_count=2, memory_mb=512))
    await store.builds.add(draft)
    assert await store.builds.get("b0") == draft
    steps = (Step(type="RUN", args=("echo \U0001f600", "")), Step(type="COPY", args=("a", "b", "", ""), files_hash="f" * 64, force=True))
    recipe = Recipe(from_image="debian:12", steps=steps, start_cmd="serve", ready_cmd="ls", force=True)
    system = System(image="sha256:0", saved=True, env={"A": "ü"}, user="root", workdir="/app", start_cmd="serve", ready_cmd="ls")
    assert await store.builds.change("b0", ["pending"], recipe=recipe, system=system) == replace(draft, recipe=recipe, system=system)


@_case
async def tags_are_moved_and_removed_by_hand(store: Store) -> None:
    await store.templates.add_template(a_template(0))
    for number in (0, 1):
        await store.builds.add(a_build(number))
    await store.builds.tag("b0", ["v1", "v2"], 5.0)
    await store.builds.tag("b1", ["v2", "v3"], 6.0)
    await store.builds.tag("unknown", ["v9"], 7.0)
    assert [(tag.tag, tag.build_id, tag.created_at) for tag in await store.builds.tags("t0")] == [
        ("v2", "b1", 6.0),
        ("v3", "b1", 6.0),
        ("v1", "b0", 5.0),
    ]
    await store.builds.untag("t0", ["v3", "v1", "none"])
    assert await store.builds.tagged("t0", "v2") == a_build(1)
    await store.builds.delete("b1")
    assert await store.builds.tags("t0") == []
    assert await store.builds.get("b0") == a_build(0)


@_case
async def a_template_is_made_public(store: Store) -> None:
    await store.templates.add_template(a_template(0))
    assert await store.templates.publish("t0", public=True) == a_template(0, public=True)
    assert await store.templates.publish("unknown", public=True) is None


@_case
async def an_id_is_given_once(store: Store) -> None:
    await store.sandboxes.add(a_sandbox(0))
    await _conflict(store.sandboxes.add(a_sandbox(0, owner="bob")))
    assert await store.sandboxes.get("s0") == a_sandbox(0)


@_case
async def a_sandbox_changes_from_the_expected_state_only(store: Store) -> None:
    await store.sandboxes.add(a_sandbox(0))
    running = await store.sandboxes.change("s0", ["starting"], state=SandboxState.RUNNING, ends_at=3000.0, metadata={"a": "b"})
    assert running == a_sandbox(0, state=SandboxState.RUNNING, ends_at=3000.0, metadata={"a": "b"})
    assert await store.sandboxes.change("s0", ["starting", "paused"], state=SandboxState.STOPPED) is None
    assert await store.sandboxes.change("unknown", ["running"], state=SandboxState.STOPPED) is None
    assert await store.sandboxes.change("s0", [], state=SandboxState.STOPPED) is None
    assert await store.sandboxes.get("s0") == running
    for fields in ({"nonsense": 1}, {"id": "other"}, {}):
        try:
            await store.sandboxes.change("s0", ["running"], **fields)
        except ValueError:
            continue
        raise AssertionError(f"{fields} was taken")


@_case
async def of_changes_that_race_exactly_one_wins(store: Store) -> None:
    await store.sandboxes.add(a_sandbox(0))
    racing = [store.sandboxes.change("s0", ["starting"], state=SandboxState.RUNNING, reason=str(number)) for number in range(RACERS)]
    winners = [row for row in await asyncio.gather(*racing) if row is not None]
    assert winners == [await store.sandboxes.get("s0")]


@_case
async def an_idempotency_key_belongs_to_one_sandbox_of_its_owner(store: Store) -> None:
    first = a_sandbox(0, idempotency_key="key")
    await store.sandboxes.add(first)
    await _conflict(store.sandboxes.add(a_sandbox(1, idempotency_key="key")))
    await store.sandboxes.add(a_sandbox(2, owner="bob", idempotency_key="key"))
    await store.sandboxes.add(a_sandbox(3))
    await store.sandboxes.add(a_sandbox(4))
    assert await store.sandboxes.by_idempotency_key("ann", "key") == first
    assert await store.sandboxes.by_idempotency_key("ann", "other") is None


@_case
async def sandboxes_are_listed_newest_first_in_pages(store: Store) -> None:
    rows = [a_sandbox(number, created_at=1000.0 + number // 2, owner="bob" if number % 3 == 0 else "ann") for number in range(10)]
    for row in rows:
        await store.sandboxes.add(row)
    newest = rows[::-1]
    assert list(await store.sandboxes.list()) == newest
    assert list(await store.sandboxes.list(owner="bob")) == [row for row in newest if row.owner == "bob"]
    paged: list[Sandbox] = []
    while page := await store.sandboxes.list(limit=3, after=paged[-1].id if paged else None):
        paged.extend(page)
    assert paged == newest


@_case
async def what_ended_long_ago_is_forgotten(store: Store) -> None:
    for number, state in enumerate(SandboxState):
        await store.sandboxes.add(a_sandbox(number, state=state, ends_at=100.0))
        await store.sandboxes.add(a_sandbox(number + 10, state=state, ends_at=200.0))
    assert await store.sandboxes.forget(200.0) == 2
    left = await store.sandboxes.list()
    assert [row.state for row in left if row.ends_at < 200.0] == [state for state in reversed(SandboxState) if not state.final]
    assert len(left) == 2 * len(SandboxState) - 2
    assert await store.sandboxes.forget(200.0) == 0


@_case
async def sandboxes_are_listed_by_state(store: Store) -> None:
    for number, state in enumerate(SandboxState):
        await store.sandboxes.add(a_sandbox(number, state=state))
    wanted = [SandboxState.RUNNING, SandboxState.PAUSED]
    assert [row.state for row in await store.sandboxes.list(states=wanted)] == wanted[::-1]
    assert list(await store.sandboxes.list(states=wanted, owner="bob")) == []


@_case
async def sandboxes_are_listed_oldest_first_since_a_time_and_by_template(store: Store) -> None:
    rows = [a_sandbox(number, template_id=f"t{number % 2}") for number in range(6)]
    for row in rows:
        await store.sandboxes.add(row)
    assert list(await store.sandboxes.list(oldest_first=True, limit=2, after="s1")) == rows[2:4]
    assert list(await store.sandboxes.list(since=rows[4].created_at)) == rows[:3:-1]
    assert list(await store.sandboxes.list(template_ids=["t1", "other"], oldest_first=True)) == rows[1::2]
    assert list(await store.sandboxes.list(template_ids=[])) == []


@_case
async def who_stands_on_a_saved_state_is_counted(store: Store) -> None:
    for number, state in enumerate(SandboxState):
        await store.sandboxes.add(a_sandbox(number, state=state, restore="one", origin="zero"))
    living = len([state for state in SandboxState if not state.final])
    assert await store.sandboxes.restored("one") == await store.sandboxes.restored("zero") == living
    assert await store.sandboxes.restored("two") == 0


@_case
async def events_are_listed_and_forgotten(store: Store) -> None:
    events = [
        SandboxEvent(id=f"e{n}", sandbox_id=f"s{n % 2}", owner="ann", template_id="t", build_id="b", type=f"k{n % 3}", at=float(n // 2))
        for n in range(6)
    ]
    for event in events:
        await store.events.add(event)
    assert list(await store.events.list("ann")) == events[::-1]
    assert list(await store.events.list("ann", oldest_first=True, limit=2, offset=1)) == events[1:3]
    assert list(await store.events.list("ann", sandbox_id="s1")) == events[5::-2]
    assert list(await store.events.list("ann", types=["k0"])) == [events[3], events[0]]
    assert list(await store.events.list("bob")) == []
    assert await store.events.forget(1.0) == 2
    assert list(await store.events.list("ann")) == events[:1:-1]


@_case
async def a_template_is_one_per_owner_and_name(store: Store) -> None:
    racing = [store.templates.add_template(a_template(number, name="hello")) for number in range(RACERS)]
    assert len({template.id for template in await asyncio.gather(*racing)}) == 1
    other = await store.templates.add_template(a_template(99, owner="bob", name="hello"))
    assert other.id == "t99"
    assert await store.templates.find_template("bob", "hello") == other == await store.templates.get_template("t99")
    assert await store.templates.find_template("bob", "other") is None
    assert await store.templates.get_template("unknown") is None


@_case
async def templates_are_listed_newest_first(store: Store) -> None:
    rows = [await store.templates.add_template(a_template(number)) for number in range(3)]
    assert list(await store.templates.list_templates("ann")) == rows[::-1]
    assert list(await store.templates.list_templates("bob")) == []


@_case
async def a_build_comes_back_as_it_was(store: Store) -> None:
    await store.templates.add_template(a_template())
    manifest = {"metadata": {"name": "hello", "tags": ["a"]}, "spec": {"n": 1, "none": None}}
    build = a_build(0, manifest=manifest, tags=("v1", "latest"), dependencies=("a==1",), finished_at=5.5, size_bytes=2**40)
    await store.builds.add(build)
    assert await store.builds.get("b0") == build
    assert await store.builds.get("unknown") is None
    await _conflict(store.builds.add(a_build(1, template_id="unknown")))


@_case
async def tags_move_when_a_build_is_deployed(store: Store) -> None:
    await store.templates.add_template(a_template())
    for number in range(2):
        await store.builds.add(a_build(number, tags=("latest", f"v{number}")))
    assert await store.builds.tagged("t0", "latest") is None
    for number in range(2):
        await store.builds.change(f"b{number}", ["pending"], state=BuildState.BUILDING)
        deployed = await store.builds.change(f"b{number}", ["building"], state=BuildState.DEPLOYED, finished_at=50.0 + number)
        assert deployed is not None
        assert await store.builds.tagged("t0", "latest") == deployed
    first = await store.builds.tagged("t0", "v0")
    assert first is not None
    assert first.id == "b0"
    template = await store.templates.get_template("t0")
    assert template is not None
    assert template.updated_at == 51.0


@_case
async def a_failed_build_moves_no_tag(store: Store) -> None:
    await store.templates.add_template(a_template())
    await store.builds.add(a_build(0, tags=("latest",)))
    failed = await store.builds.change("b0", ["pending", "building"], state=BuildState.FAILED, reason="no such package", finished_at=9.0)
    assert failed == a_build(0, tags=("latest",), state=BuildState.FAILED, reason="no such package", finished_at=9.0)
    assert await store.builds.change("b0", ["building"], state=BuildState.DEPLOYED) is None
    assert await store.builds.tagged("t0", "latest") is None


@_case
async def builds_are_listed_by_template_and_state(store: Store) -> None:
    for number in range(2):
        await store.templates.add_template(a_template(number))
    for number, state in enumerate(BuildState):
        await store.builds.add(a_build(number, state=state, template_id=f"t{number % 2}"))
    assert [build.id for build in await store.builds.list()] == ["b3", "b2", "b1", "b0"]
    assert [build.id for build in await store.builds.list(template_id="t1")] == ["b3", "b1"]
    assert [build.id for build in await store.builds.list(states=["pending", "building"])] == ["b1", "b0"]
    assert [build.id for build in await store.builds.list(template_id="t0", states=["deployed"])] == ["b2"]


@_case
async def deleting_a_template_takes_what_belongs_to_it(store: Store) -> None:
    await store.templates.add_template(a_template())
    await store.builds.add(a_build(0, tags=("latest",)))
    await store.builds.change("b0", ["pending"], state=BuildState.DEPLOYED)
    await store.logs.append("b0", [LogLine(number=0, timestamp=1.0, message="x")])
    await store.sandboxes.add(a_sandbox(0))
    await store.templates.delete_template("t0")
    await store.templates.delete_template("t0")
    assert await store.templates.get_template("t0") is None
    assert await store.builds.get("b0") is None
    assert await store.builds.tagged("t0", "latest") is None
    assert list(await store.logs.read("b0", 0, 10)) == []
    assert await store.sandboxes.get("s0") == a_sandbox(0)


@_case
async def log_lines_are_read_from_an_offset(store: Store) -> None:
    await store.templates.add_template(a_template())
    await store.builds.add(a_build(0))
    lines = [LogLine(number=number, timestamp=1.0 + number, message=f"line {number}", level="error") for number in range(10)]
    await store.logs.append("b0", lines[:4])
    await store.logs.append("b0", [])
    await store.logs.append("b0", lines[4:])
    assert list(await store.logs.read("b0", 0, 100)) == lines
    assert list(await store.logs.read("b0", 3, 2)) == lines[3:5]
    assert list(await store.logs.read("b0", 10, 2)) == list(await store.logs.read("unknown", 0, 2)) == []
    await _conflict(store.logs.append("b0", [replace(lines[9], number=10), lines[0]]))
    assert list(await store.logs.read("b0", 10, 2)) == []


@_case
async def keys_are_listed_and_revoked_once(store: Store) -> None:
    keys = [ApiKey(id=f"k{n}", owner="ann", name="laptop", digest=f"d{n}", hint="abcd", created_at=float(n)) for n in range(2)]
    for key in keys:
        await store.keys.add(key)
    await _conflict(store.keys.add(replace(keys[0], id="k9")))
    assert list(await store.keys.list()) == keys
    assert sorted(await asyncio.gather(*(store.keys.revoke("k0", 9.0) for _ in range(RACERS)))) == [False] * (RACERS - 1) + [True]
    assert not await store.keys.revoke("unknown", 9.0)
    assert list(await store.keys.list()) == [replace(keys[0], revoked_at=9.0), keys[1]]


@_case
async def a_refused_row_takes_no_other_with_it(store: Store) -> None:
    await store.sandboxes.add(a_sandbox(0))
    adding = [store.sandboxes.add(a_sandbox(number // 2)) for number in range(2, 2 * RACERS)]
    results = await asyncio.gather(*adding, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), RowConflict] * (RACERS - 1)
    assert len(await store.sandboxes.list()) == RACERS


async def _conflict(verb: Awaitable[object]) -> None:
    try:
        await verb
    except RowConflict:
        return
    raise AssertionError("no RowConflict was raised")
