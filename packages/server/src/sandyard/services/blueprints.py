"""How a sandbox that there is a row of is started again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandkit.wire.errors import TEMPLATE_NOT_FOUND, ApiError
from sandyard.services.specs import Wishes, session_spec

if TYPE_CHECKING:
    from sandyard.domain.sandboxes import Sandbox
    from sandyard.domain.specs import SandboxSpec
    from sandyard.domain.templates import Build, System
    from sandyard.services.context import Context
    from sandyard.services.states import States
    from sandyard.services.variables import Variables
    from sandyard.services.volumes.volumes import Volumes


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What is asked of the back end, and what is run inside once that is done (nothing of it for agents)."""

    spec: SandboxSpec
    system: System


class Blueprints:
    """Composes them from rows."""

    def __init__(self, context: Context, states: States, variables: Variables, volumes: Volumes) -> None:
        self._settings = context.settings
        self._builds = context.store.builds
        self._states = states
        self._variables = variables
        self._volumes = volumes

    async def of(self, row: Sandbox) -> Blueprint:
        """Return a sandbox's; raises as `build_of`."""
        return await self.compose(row, await self.build_of(row))

    async def build_of(self, row: Sandbox) -> Build:
        """Return the build that a sandbox is of.

        Raises:
            ApiError: `template_not_found`: its template was deleted meanwhile.
        """
        build = await self._builds.get(row.build_id)
        if build is None:
            raise ApiError(TEMPLATE_NOT_FOUND, f"The template of the sandbox {row.id!r} is there no more: it cannot be started again")
        return build

    async def compose(self, row: Sandbox, build: Build) -> Blueprint:
        """Return that of a sandbox of `build`.

        Raises:
            ApiError: `internal`: its variables do not open.
        """
        restore = self._states.path(row.restore) if row.restore else None
        env, volumes = await self._variables.of(row), self._volumes.shown(row.volumes)
        wishes = Wishes(env=env, network=row.network, volumes=volumes, restore=restore, memory_mb=row.memory_mb, cpu_count=row.cpu_count)
        return Blueprint(session_spec(self._settings, build, row.id, ends_at=row.ends_at, wishes=wishes), build.system)
