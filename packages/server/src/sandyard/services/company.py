"""What follows sandboxes through their lives, beside the lifecycle that leads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandyard.services.blueprints import Blueprints
    from sandyard.services.events import Events
    from sandyard.services.metering import Metering
    from sandyard.services.outputs import Outputs
    from sandyard.services.sandbox_secrets import SandboxSecrets
    from sandyard.services.states import States
    from sandyard.services.variables import Variables
    from sandyard.services.volumes.volumes import Volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """What follows sandboxes through their lives."""

    states: States
    blueprints: Blueprints
    events: Events
    metering: Metering
    outputs: Outputs
    variables: Variables
    volumes: Volumes
    secrets: SandboxSecrets
