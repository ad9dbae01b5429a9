"""Templates for callers: find, describe, tag, delete. How builds come about is in `deployments`, `recipes` and `builtins`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from sandkit.wire.errors import BUILD_NOT_FOUND, CONFLICT, TEMPLATE_NOT_FOUND, TEMPLATE_NOT_READY, ApiError
from sandyard import trees
from sandyard.domain.templates import BUILTIN_OWNER, DEFAULT_TAG, STEPS_TAG, Build, BuildKind, BuildState, Tag, Template
from sandyard.services import references
from sandyard.services.lifecycle import LIVING
from sandyard.services.specs import build_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.services.builtins import Builtins
    from sandyard.services.context import Context
    from sandyard.services.references import Reference

FILES = "files"
"""The blobs that COPY steps copy from: `files/<template id>/<hash>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateView:
    """A template with the build that describes it, the names of its tags that point at a build, and how many builds it has."""

    template: Template
    build: Build | None
    tags: tuple[str, ...]
    build_count: int = 1


class Templates:
    """The verbs on templates; each is for one owner, and other owners' things do not exist unless they are public."""

    def __init__(self, context: Context, builtins: Builtins) -> None:
        self._settings = context.settings
        self._store = context.store
        self._blobs = context.blobs
        self._clock = context.clock
        self._builtins = builtins

    async def resolve(self, owner: str, reference: str) -> tuple[Template, Build]:
        """Return the deployed build that `id`, `name`, `id:tag`, `name:tag` or one of these after `owner/` means.

        No tag means `latest`, `default`, or the newest. A built-in template is built if need be.

        Raises:
            ApiError: `template_not_found`; `template_not_ready` where no build of it is deployed; see also `Builtins.ready`.
        """
        wanted = references.read(reference)
        template = await self.find(owner, wanted)
        if template.owner == BUILTIN_OWNER and wanted.tag in ("", STEPS_TAG, DEFAULT_TAG):
            return template, await self._builtins.ready(template)
        build = await self._tagged(template, wanted.tag) if wanted.tag else await self._describing(template.id)
        if build is None or build.state is not BuildState.DEPLOYED:
            raise ApiError(TEMPLATE_NOT_READY, _why_not_ready(template, build))
        return template, build

    async def list(self, owner: str) -> Sequence[TemplateView]:
        """Return the owner's own templates, newest first."""
        return [await self._view(template) for template in await self._store.templates.list_templates(owner)]

    async def get(self, owner: str, reference: str) -> TemplateView:
        """Return what `id`, `name` or `name:tag` means, deployed or not."""
        wanted = references.read(reference)
        view = await self._view(await self.find(owner, wanted))
        if not wanted.tag:
            return view
        build = await self._tagged(view.template, wanted.tag)
        return TemplateView(template=view.template, build=build, tags=view.tags, build_count=view.build_count)

    async def find(self, owner: str, reference: Reference) -> Template:
        """Return the template that the owner may use under that name: an own one, a public one, or a built-in one.

        Raises:
            ApiError: `template_not_found`.
        """
        template = await self._own(owner, reference)
        if template is None and not reference.namespace:
            by_id = await self._store.templates.get_template(reference.name)
            template = by_id if by_id is not None and by_id.public else await self._builtins.template(reference.name)
        elif template is None:
            theirs = await self._store.templates.find_template(reference.namespace, reference.name)
            template = theirs if theirs is not None and theirs.public else None
        if template is None:
            raise ApiError(TEMPLATE_NOT_FOUND, f"There is no template {str(reference)!r}")
        return template

    async def find_own(self, owner: str, reference: Reference) -> Template:
        """Return the template of that id or name if it is the owner's.

        Raises:
            ApiError: `template_not_found`.
        """
        template = await self._own(owner, reference)
        if template is None:
            raise ApiError(TEMPLATE_NOT_FOUND, f"You have no template {str(reference)!r}")
        return template

    async def publish(self, owner: str, reference: str, *, public: bool) -> Template:
        """Let every owner use a template, or only its own."""
        template = await self.find_own(owner, references.read(reference))
        return await self._store.templates.publish(template.id, public=public) or template

    async def delete(self, owner: str, reference: str) -> None:
        """Delete a template with its builds; with a tag, only that build where there are others.

        Raises:
            ApiError: `conflict` while sandboxes of it live or a build of it is under way.
        """
        wanted = references.read(reference)
        template = await self.find_own(owner, wanted)
        builds = await self._store.builds.list(template_id=template.id)
        if wanted.tag:
            tagged = await self._tagged(template, wanted.tag)
            if len(builds) > 1:
                builds = [tagged]
        await self._check_unused(template, builds)
        if wanted.tag and await self._has_others(template.id, builds):
            await self._store.builds.delete(builds[0].id)
        else:
            await self._store.templates.delete_template(template.id)
            for key in await self._blobs.keys(f"{FILES}/{template.id}"):
                await self._blobs.delete(key)
        await self._forget(builds)

    async def build(self, owner: str, reference: str, build_id: str) -> Build:
        """Return a build of an own template.

        Raises:
            ApiError: `build_not_found`.
        """
        template = await self.find_own(owner, references.read(reference))
        build = await self._store.builds.get(build_id)
        if build is None or build.template_id != template.id:
            raise ApiError(BUILD_NOT_FOUND, f"The template {template.name!r} has no build {build_id!r}")
        return build

    async def tags(self, owner: str, reference: str) -> Sequence[Tag]:
        """Return the tags of a template with the builds that they point at."""
        template = await self.find_own(owner, references.read(reference))
        return await self._store.builds.tags(template.id)

    async def tag(self, owner: str, target: str, tags: Sequence[str]) -> Build:
        """Let tags point at the build that `target` (`name` or `name:tag`) means; return it."""
        references.check_tags(tuple(tags))
        wanted = references.read(target)
        template = await self.find_own(owner, wanted)
        build = await self._tagged(template, wanted.tag) if wanted.tag else await self._describing(template.id)
        if build is None or build.state is not BuildState.DEPLOYED:
            raise ApiError(TEMPLATE_NOT_READY, _why_not_ready(template, build))
        await self._store.builds.tag(build.id, tags, self._clock.now())
        return build

    async def untag(self, owner: str, reference: str, tags: Sequence[str]) -> None:
        """Remove tags; the builds stay.

        Raises:
            ApiError: `template_not_found` where one of them is not there; then nothing is removed.
        """
        template = await self.find_own(owner, references.read(reference))
        for tag in tags:
            await self._tagged(template, tag)
        await self._store.builds.untag(template.id, tags)

    async def _own(self, owner: str, reference: Reference) -> Template | None:
        if reference.namespace not in ("", owner):
            return None
        template = await self._store.templates.get_template(reference.name)
        if template is not None and template.owner == owner:
            return template
        return await self._store.templates.find_template(owner, reference.name)

    async def _tagged(self, template: Template, tag: str) -> Build:
        build = await self._store.builds.tagged(template.id, tag)
        if build is None:
            raise ApiError(TEMPLATE_NOT_FOUND, f"The template {template.name!r} has no tag {tag!r}")
        return build

    async def _check_unused(self, template: Template, builds: Sequence[Build]) -> None:
        ids = {build.id for build in builds}
        living = [row for row in await self._store.sandboxes.list(states=LIVING, limit=100_000) if row.build_id in ids]
        if living:
            raise ApiError(CONFLICT, f"{len(living)} sandboxes of {template.name!r} still live; close them first")
        for build in await self._store.builds.list(states=[BuildState.BUILDING]):
            if build.template_id == template.id or (build.recipe is not None and build.recipe.from_build in ids):
                raise ApiError(CONFLICT, f"A build of, or from, {template.name!r} is under way; wait for its end")
        for build in await self._store.builds.list(states=[BuildState.DEPLOYED]):
            if build.kind is BuildKind.SNAPSHOT and build.recipe is not None and build.recipe.from_build in ids and build.id not in ids:
                raise ApiError(CONFLICT, f"Snapshots run the package of {template.name!r}; delete them first (GET /snapshots)")

    async def _has_others(self, template_id: str, builds: Sequence[Build]) -> bool:
        ids = {build.id for build in builds}
        return any(build.id not in ids for build in await self._store.builds.list(template_id=template_id))

    async def _forget(self, builds: Sequence[Build]) -> None:
        for build in builds:
            if build.package:
                await self._blobs.delete(build.package)
            home = build_dir(self._settings, build.id)
            await anyio.to_thread.run_sync(trees.remove, home)

    async def _view(self, template: Template) -> TemplateView:
        tags = tuple(tag.tag for tag in await self._store.builds.tags(template.id))
        count = len(await self._store.builds.list(template_id=template.id))
        return TemplateView(template=template, build=await self._describing(template.id), tags=tags, build_count=count)

    async def _describing(self, template_id: str) -> Build | None:
        """The build that stands for a template: tagged `latest` or `default`, else the newest deployed one, else the newest."""
        for tag in (DEFAULT_TAG, STEPS_TAG):
            tagged = await self._store.builds.tagged(template_id, tag)
            if tagged is not None:
                return tagged
        builds = await self._store.builds.list(template_id=template_id)
        deployed = [build for build in builds if build.state is BuildState.DEPLOYED]
        return max(deployed or builds, key=lambda build: build.created_at, default=None)


def _why_not_ready(template: Template, build: Build | None) -> str:
    if build is None:
        return f"The template {template.name!r} has no build"
    if build.state is BuildState.FAILED:
        return f"The template {template.name!r} has no deployed build; the newest failed: {build.reason}"
    return f"The template {template.name!r} is not deployed yet (its newest build is {build.state.value})"
