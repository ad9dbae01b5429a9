"""An agent's settings as they hold: what was set explicitly, then the environment, then the defaults (seed 001 §9.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydantic

from ppio_sandbox.agent_runtime.exceptions import ValidationError
from ppio_sandbox.agent_runtime.runtime.models import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = {"host": "PPIO_AGENT_HOST", "port": "PPIO_AGENT_PORT", "debug": "PPIO_AGENT_DEBUG", "timeout": "PPIO_AGENT_TIMEOUT"}


def settled(config: RuntimeConfig | None, environment: Mapping[str, str]) -> RuntimeConfig:
    """Return `config` with the fields that it does not set itself taken from `environment`; empty variables count as absent.

    Raises:
        ValidationError: a variable has no usable value; the message names it.
    """
    config = config or RuntimeConfig()
    told: dict[str, object] = {}
    for field, variable in VARIABLES.items():
        text = environment.get(variable)
        if text and field not in config.model_fields_set:
            try:
                told[field] = getattr(RuntimeConfig.model_validate({field: text}), field)
            except pydantic.ValidationError as error:
                raise ValidationError(f"{variable}={text!r}: {error.errors()[0]['msg']}", "invalid_setting") from None
    return config.model_copy(update=told) if told else config
