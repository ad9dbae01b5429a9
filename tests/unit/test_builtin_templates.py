"""Built-in templates: one build for all who come first, told failures, new builds for what is newly shipped."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from sandkit.wire.errors import ApiError
from sandyard.domain.templates import Build, BuildKind, BuildState, Recipe, Step
from sandyard.services.builtins import Builtins
from sandyard.services.deployments import PENDING
from sandyard.services.shipped import BUILTINS, Builtin
from sandyard.services.wakes import Wakes
from sandyard.store.sqlite import SqliteStore
from sandyard.web.errors import reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from sandyard.services.context import Context

pytestmark = [pytest.mark.anyio, pytest.mark.promise("template.builtin")]

RECIPE = Recipe(steps=(Step(type="COPY", args=(".", "/opt/server", "", ""), files_hash="server"), Step(type="RUN", args=("true",))))


class Rig:
    """The built-in templates over a store, and a builder that the test is."""

    def __init__(self, store: SqliteStore, files: Path) -> None:
        self.store, self.wakes, self.files = store, Wakes(), files
        self.builtins = self.restarted()

    def restarted(self) -> Builtins:
        """Return what the next server has."""
        clock = SimpleNamespace(now=lambda: 1000.0)
        context = cast("Context", SimpleNamespace(store=self.store, clock=clock))
        return Builtins(context, self.wakes, {"plain": Builtin, "made": lambda: Builtin(recipe=RECIPE, files={"server": self.files})})

    async def ask(self, of: Builtins, name: str = "made") -> Build:
        template = await of.template(name)
        assert template is not None
        assert template.public
        return await of.ready(template)

    async def pending(self) -> Sequence[Build]:
        async with asyncio.timeout(5):
            while True:
                news = self.wakes.event(PENDING)
                if found := await self.store.builds.list(states=[BuildState.PENDING]):
                    return found
                await news.wait()

    async def end(self, build: Build, **fields: object) -> None:
        await self.store.builds.change(build.id, [BuildState.PENDING], finished_at=1001.0, **fields)
        self.wakes.wake(build.id)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    (tmp_path / "main.py").write_text("one")
    store = await SqliteStore.open(":memory:")
    yield Rig(store, tmp_path)
    await store.close()


async def test_all_who_come_first_wait_for_one_build(rig: Rig) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(rig.ask(rig.builtins)) for _ in range(20)]
        (build,) = await rig.pending()
        assert (build.kind, build.recipe) == (BuildKind.BUILTIN, RECIPE)
        assert rig.builtins.files(build) == {"server": rig.files}
        await rig.end(build, state=BuildState.DEPLOYED)
    assert {task.result().id for task in asking} == {build.id}
    assert (await rig.ask(rig.builtins)).id == build.id
    assert (await rig.ask(rig.restarted())).id == build.id


async def test_a_failure_is_told_and_the_next_use_tries_again(rig: Rig) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(_refused(rig))
        (first,) = await rig.pending()
        await rig.end(first, state=BuildState.FAILED, reason="the index was down")
    assert (asking.result().problem.slug, "the index was down" in asking.result().message) == ("agent_failed", True)
    async with asyncio.TaskGroup() as tasks:
        again = tasks.create_task(rig.ask(rig.builtins))
        (second,) = await rig.pending()
        await rig.end(second, state=BuildState.DEPLOYED)
    assert again.result().id == second.id != first.id


async def test_what_is_newly_shipped_is_built_anew(rig: Rig) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.ask(rig.builtins))
        (old,) = await rig.pending()
        await rig.end(old, state=BuildState.DEPLOYED)
    (rig.files / "main.py").write_text("two")
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(rig.ask(rig.restarted()))
        (new,) = await rig.pending()
        assert rig.builtins.files(new) == {}
        await rig.end(new, state=BuildState.DEPLOYED)
    assert asking.result().id == new.id != old.id


async def test_a_long_build_is_not_waited_for_longer_than_a_client_would(rig: Rig) -> None:
    rig.builtins.wait_seconds = 0.05
    refused = await _refused(rig)
    assert (refused.problem.slug, refused.details["retry_after"]) == ("unavailable", 5)
    assert len(await rig.pending()) == 1
    told = reply(refused, None)
    assert (told.status_code, told.headers["Retry-After"], told.headers["Should-Retry"]) == (503, "5", "false"), "its time-out is used up"


async def test_what_is_ordered_ahead_is_waited_for_by_nobody_and_built_once(rig: Rig) -> None:
    await rig.builtins.order("made")
    await rig.builtins.order("made")
    await rig.builtins.order("plain")
    (build,) = await rig.pending()
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(rig.ask(rig.builtins))
        await rig.end(build, state=BuildState.DEPLOYED)
    assert asking.result().id == build.id


async def test_what_has_no_steps_is_there_at_once(rig: Rig) -> None:
    builds = await asyncio.gather(*(rig.ask(rig.builtins, "plain") for _ in range(5)))
    assert len({build.id for build in builds}) == 1
    assert builds[0].state is BuildState.DEPLOYED
    assert await rig.builtins.template("nothing") is None


async def _refused(rig: Rig) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await rig.ask(rig.builtins)
    return caught.value


@pytest.mark.promise("interpreter.template")
def test_another_program_of_the_code_interpreter_is_copied_by_another_step() -> None:
    shipped = BUILTINS["code-interpreter-v1"]()
    (copy,) = (step for step in shipped.recipe.steps if step.type == "COPY")
    assert (shipped.files[copy.files_hash] / "__main__.py").is_file()
    assert len(copy.files_hash) > 64, "the cache of builds goes by steps, so that the step has to tell what is copied"
