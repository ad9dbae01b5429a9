"""What all messages have in common: camelCase on the wire, snake_case in Python, unknown fields ignored by readers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    """A message of the control plane."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        defer_build=True,  # importing a client builds no validators of messages that it may never see
        hide_input_in_errors=True,  # what could not be read may hold a token
    )
