"""Templates as the composition root puts them together."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uv

from sandyard.services.build_logs import BuildLogs
from sandyard.services.builtins import Builtins
from sandyard.services.deployments import Deployments
from sandyard.services.logins import Logins
from sandyard.services.recipes import Recipes
from sandyard.services.secrets_dir import create_once
from sandyard.services.templates import Templates
from sandyard.work.builds import Builder
from sandyard.work.images import Images
from sandyard.work.steps import StepBuilder

if TYPE_CHECKING:
    from sandyard.services.context import Context
    from sandyard.services.exits import Exits
    from sandyard.services.wakes import Wakes

_UPLOAD_SECRET = "upload_secret"  # noqa: S105 (a file's name)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateParts:
    """The services around templates, and the loop that builds them."""

    context: Context
    builtins: Builtins
    templates: Templates
    deployments: Deployments
    recipes: Recipes
    build_logs: BuildLogs
    builder: Builder
    images: Images

    async def prepare(self) -> None:
        """Have those of the built-in templates built that the operator wants before anybody asks for them; does not wait for it."""
        for name in self.context.settings.prepare:
            await self.builtins.order(name)

    async def sweep(self) -> None:
        """Remove what a killed server left behind; call it before anyone may upload."""
        await self.deployments.sweep()
        await self.recipes.sweep()
        builds = await self.context.store.builds.list()
        await self.images.sweep({build.system.image for build in builds if build.system.image})


def template_parts(context: Context, exits: Exits, wakes: Wakes) -> TemplateParts:
    """Return the services around templates of one server."""
    installer = Path(uv.find_uv_bin())
    builtins, logins, images = Builtins(context, wakes), Logins(), Images(context.settings)
    templates = Templates(context, builtins)
    secret = create_once(context.settings.data_dir / "secrets" / _UPLOAD_SECRET, lambda: secrets.token_bytes(32))
    steps = StepBuilder(context, exits, builtins=builtins, logins=logins, images=images, uv=installer)
    return TemplateParts(
        context=context,
        builtins=builtins,
        templates=templates,
        deployments=Deployments(context, wakes),
        recipes=Recipes(context, templates, logins, wakes, secret),
        build_logs=BuildLogs(context, wakes),
        builder=Builder(context, exits, wakes, installer, steps),
        images=images,
    )
