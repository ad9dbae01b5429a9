"""Templates as the composition root puts them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandyard.services.build_logs import BuildLogs
from sandyard.services.builtins import Builtins
from sandyard.services.deployments import Deployments
from sandyard.services.templates import Templates

if TYPE_CHECKING:
    from sandyard.services.context import Context
    from sandyard.services.wakes import Wakes


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateParts:
    """The services around templates."""

    templates: Templates
    deployments: Deployments
    build_logs: BuildLogs


def template_parts(context: Context, wakes: Wakes) -> TemplateParts:
    """Return the services around templates of one server."""
    return TemplateParts(
        templates=Templates(context, Builtins(context, wakes)),
        deployments=Deployments(context, wakes),
        build_logs=BuildLogs(context, wakes),
    )
