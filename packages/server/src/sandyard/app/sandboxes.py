"""Sandboxes as the composition root puts them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandyard.app.gateway import envelopes_of
from sandyard.services.blueprints import Blueprints
from sandyard.services.company import Company
from sandyard.services.copies import Copies
from sandyard.services.events import Events
from sandyard.services.metering import Metering
from sandyard.services.outputs import Outputs
from sandyard.services.sandbox_secrets import SandboxSecrets
from sandyard.services.sandboxes import Sandboxes
from sandyard.services.snapshots import Snapshots
from sandyard.services.states import States
from sandyard.services.variables import Variables
from sandyard.services.volumes.attaching import Attaching
from sandyard.services.volumes.volumes import Volumes

if TYPE_CHECKING:
    from sandyard.services.admission import Admission
    from sandyard.services.context import Context
    from sandyard.services.lifecycle import Lifecycle
    from sandyard.services.templates import Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxParts:
    """The services around sandboxes."""

    sandboxes: Sandboxes
    copies: Copies
    snapshots: Snapshots
    attaching: Attaching
    company: Company


def company_of(context: Context) -> Company:
    """Return what follows the sandboxes of one server."""
    states = States(context)
    envelopes = envelopes_of(context.settings)
    variables = Variables(envelopes)
    volumes = Volumes(context)
    return Company(
        states=states,
        blueprints=Blueprints(context, states, variables, volumes),
        events=Events(context),
        metering=Metering(context),
        outputs=Outputs(context),
        variables=variables,
        volumes=volumes,
        secrets=SandboxSecrets(context.store.sandbox_secrets, envelopes, context.clock),
    )


def sandbox_parts(context: Context, templates: Templates, lifecycle: Lifecycle, admission: Admission, company: Company) -> SandboxParts:
    """Return the services around sandboxes of one server."""
    sandboxes = Sandboxes(context, templates, lifecycle, admission, company)
    snapshots = Snapshots(context)
    return SandboxParts(
        sandboxes=sandboxes,
        copies=Copies(sandboxes, snapshots, lifecycle, company),
        snapshots=snapshots,
        attaching=Attaching(context, sandboxes, lifecycle, company.volumes),
        company=company,
    )
