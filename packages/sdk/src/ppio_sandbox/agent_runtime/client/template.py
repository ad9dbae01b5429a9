"""The templates that this caller may start."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ppio_sandbox.agent_runtime.client import rules
from ppio_sandbox.agent_runtime.client.exceptions import TemplateNotFoundError
from ppio_sandbox.agent_runtime.client.models import AgentTemplate, ClientConfig
from ppio_sandbox.agent_runtime.client.platform import Platform
from ppio_sandbox.agent_runtime.client.settings import find_addresses
from sandkit.http import templates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppio_sandbox.agent_runtime.client.auth import AuthManager
    from sandkit.wire.templates import TemplateInfo


class TemplateCache:
    """The last list of templates, while it is fresh: `config.cache_ttl` seconds, or never where no cache was asked for."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._kept: list[AgentTemplate] | None = None
        self._until = 0.0

    def keep(self, templates: list[AgentTemplate]) -> None:
        """Remember a list that has just arrived."""
        if self._config.enable_cache:
            self._kept = templates
            self._until = time.monotonic() + self._config.cache_ttl

    def all(self) -> list[AgentTemplate] | None:
        """Return the list, or None where there is no fresh one."""
        return self._kept if time.monotonic() < self._until else None

    def find(self, template_id: str) -> AgentTemplate | None:
        """Return a template of the fresh list by its id or name."""
        return next((one for one in self.all() or () if template_id in (one.template_id, one.name)), None)


class TemplateManager:
    """Asks the platform, each time afresh (seed 001 §4.4), unless the configuration asks for a cache (seed 002 §4.5)."""

    def __init__(self, auth_manager: AuthManager, platform: Platform | None = None) -> None:
        """Use the client's connections, or some of its own: then `aclose` closes them."""
        self.auth_manager = auth_manager
        self._platform = platform or Platform(auth_manager, find_addresses(None, ClientConfig()), ClientConfig())
        self._cache = TemplateCache(self._platform.config)

    async def list_templates(
        self, tags: list[str] | None = None, name_filter: str | None = None, *, refresh: bool = False
    ) -> list[AgentTemplate]:
        """Return the templates that carry at least one of `tags` and whose name contains `name_filter`, whatever its case.

        `refresh` asks the platform also where a cached list is fresh.
        """
        found = None if refresh else self._cache.all()
        if found is None:
            found = [template_of(info) for info in await self._platform.perform(templates.list_templates())]
            self._cache.keep(found)
        return matching(found, tags, name_filter)

    async def get_template(self, template_id: str) -> AgentTemplate:
        """Return one template by id, name, or `name:tag`.

        Raises:
            TemplateNotFoundError: there is none.
        """
        kept = self._cache.find(template_id)
        if kept is not None:
            return kept
        with rules.about_template(template_id):
            return template_of(await self._platform.perform(templates.get_template(template_id)))

    async def template_exists(self, template_id: str) -> bool:
        """Whether there is such a template for this caller."""
        try:
            await self.get_template(template_id)
        except TemplateNotFoundError:
            return False
        return True

    async def aclose(self) -> None:
        await self._platform.aclose()


def template_of(info: TemplateInfo) -> AgentTemplate:
    """Return the public model of a template as the wire has it."""
    agent: dict[str, Any] = info.metadata.get("agent") or {}
    about: dict[str, Any] = agent.get("metadata") or {}
    spec: dict[str, Any] = agent.get("spec") or {}
    return AgentTemplate(
        template_id=info.template_id,
        name=info.name,
        version=str(about.get("version") or ""),
        description=about.get("description"),
        author=about.get("author"),
        tags=info.tags,
        created_at=info.created_at,
        updated_at=info.updated_at,
        status=info.phase,
        metadata=info.metadata,
        size=info.size,
        build_time=info.build_time,
        dependencies=info.dependencies,
        runtime_info=spec.get("runtime"),
    )


def matching(found: list[AgentTemplate], tags: Sequence[str] | None, name_filter: str | None) -> list[AgentTemplate]:
    """Return, as a list of its own, the templates that carry at least one of `tags` and whose name contains `name_filter`."""
    return [template for template in found if _matches(template, tags, name_filter)]


def _matches(template: AgentTemplate, tags: Sequence[str] | None, name_filter: str | None) -> bool:
    return (not tags or not set(tags).isdisjoint(template.tags)) and (not name_filter or name_filter.lower() in template.name.lower())
