"""Where in a YAML text a value stands, and how it is changed there: all other bytes stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Place(NamedTuple):
    """Both count from 1, as editors do."""

    line: int
    column: int


def place_of(text: str, keys: Sequence[str | int]) -> Place:
    """Return where the value of `keys` stands, or the deepest part of that way that is there; of a key, where the key stands."""
    node = _root(text)
    mark = node.start_mark if node is not None else None
    for key in keys:
        found = _below(node, key)
        if found is None:
            break
        key_node, node = found
        mark = key_node.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)


def with_value(text: str, keys: Sequence[str], value: object) -> str:
    """Return the text with one scalar replaced, or added below its section, which is added where it is missing.

    Raises:
        ValueError: the section is no block of `key: value` lines.
    """
    node = _root(text)
    for depth, key in enumerate(keys):
        found = _below(node, key)
        if found is None:
            return _with_added(text, node, _lines(keys[depth:], value))
        node = found[1]
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"{'.'.join(keys)} is no single value")  # noqa: TRY004 (what was written is wrong, not what was passed)
    return text[: node.start_mark.index] + scalar(value) + text[node.end_mark.index :]


def with_values(text: str, values: Mapping[tuple[str, ...], object]) -> str:
    """Return the text with scalars replaced or added. Raises as `with_value`."""
    for keys, value in values.items():
        text = with_value(text, keys, value)
    return text


def _root(text: str) -> yaml.Node | None:
    """Return the tree of a text, whose nodes know their places."""
    return cast("yaml.Node | None", yaml.compose(text, yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]


def _below(node: yaml.Node | None, key: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the nodes of a key and of its value; for an item of a list both are the item's."""
    match node, key:
        case yaml.MappingNode(), str():
            pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
            return next((pair for pair in pairs if pair[0].value == key), None)
        case yaml.SequenceNode(), int() if key < len(node.value):
            return node.value[key], node.value[key]
        case _:
            return None


def _with_added(text: str, node: yaml.Node | None, lines: Sequence[str]) -> str:
    """Put lines before the first key of a block, with its indent."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style or not node.value:
        raise ValueError("the section is no block of `key: value` lines")
    first: yaml.Node = node.value[0][0]
    begin = first.start_mark.index - first.start_mark.column
    indent = " " * first.start_mark.column
    return text[:begin] + "".join(f"{indent}{line}\n" for line in lines) + text[begin:]


def _lines(keys: Sequence[str], value: object) -> list[str]:
    sections = [f"{'  ' * depth}{key}:" for depth, key in enumerate(keys)]
    return [*sections[:-1], f"{sections[-1]} {scalar(value)}"]


def scalar(value: object) -> str:
    """Return a value as YAML writes it in a line."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("\n").removesuffix("\n...")
