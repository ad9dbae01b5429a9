"""How callers name templates: `id`, `name`, `name:tag`, `owner/name:tag`."""

from __future__ import annotations

from dataclasses import dataclass

from sandkit.wire.errors import INVALID_REQUEST, ApiError
from sandyard.domain.templates import NAME, TAG


@dataclass(frozen=True, slots=True)
class Reference:
    """A template's name or id; `namespace` is its owner (nothing: the caller), `tag` may be nothing, too."""

    name: str
    tag: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def read(text: str) -> Reference:
    """Return what `text` names, whether or not there is such a thing."""
    rest, _, tag = text.partition(":")
    namespace, _, name = rest.rpartition("/")
    return Reference(name, tag, namespace)


def read_new(text: str) -> Reference:
    """Return the name for something new.

    Raises:
        ApiError: `invalid_request`, saying what a name may be.
    """
    reference = read(text)
    if not NAME.fullmatch(reference.name):
        message = f"{reference.name[:100]!r} is not a template's name: up to 64 of a-z, 0-9, '-', '_', '.', the outer two no sign"
        raise ApiError(INVALID_REQUEST, message, details={"field": "name"})
    if reference.tag:
        check_tags([reference.tag])
    return reference


def check_tags(tags: list[str] | tuple[str, ...]) -> None:
    """Raise `invalid_request` for what is no tag."""
    for tag in tags:
        if not TAG.fullmatch(tag):
            raise ApiError(INVALID_REQUEST, f"{tag!r} is not a tag: letters, digits, '_', '.' and '-'", details={"field": "tags"})
