"""Loose comparison of types: does an annotation take whatever another one allows?"""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

CALLABLE: object = collections.abc.Callable


def hints_of(function: Any, names: dict[str, Any]) -> dict[str, Any]:
    """Return a function's annotations as types; what it imports for its types alone is found in `names`."""
    return typing.get_type_hints(function, localns=names)


def takes(wide: Any, narrow: Any) -> bool:
    """Whether every member of `narrow` fits some member of `wide`; `int` fits `float`, `Any` fits and takes everything."""
    return all(any(_fits(member, candidate) for candidate in _members(wide)) for member in _members(narrow))


def can_be_awaited(annotation: Any) -> bool:
    """Whether every member of an annotation has `__await__`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return all(can_be_awaited(member) for member in get_args(annotation))
    return hasattr(get_origin(annotation) or annotation, "__await__")


def _members(annotation: Any) -> list[Any]:
    """Return the members of a union, a coroutine's result, what is annotated; a variable is anything."""
    if isinstance(annotation, TypeVar):
        return [Any]
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    if origin is collections.abc.Coroutine:
        return _members(get_args(annotation)[2])
    return [type(None) if annotation is None else annotation]


def _fits(narrow: Any, wide: Any) -> bool:
    if Any in (narrow, wide) or wide is object:
        return True
    if get_origin(narrow) is Literal or get_origin(wide) is Literal:
        return set(get_args(narrow)) <= set(get_args(wide)) if get_origin(wide) is Literal else takes(wide, type(get_args(narrow)[0]))
    narrow_class, wide_class = get_origin(narrow) or narrow, get_origin(wide) or wide
    if not _derives(narrow_class, wide_class):
        return False
    if narrow_class is not wide_class or narrow_class is CALLABLE:
        return True
    pairs = zip(get_args(narrow), get_args(wide), strict=False)
    return all(takes(wide_part, narrow_part) for narrow_part, wide_part in pairs)


def _derives(narrow: Any, wide: Any) -> bool:
    if not isinstance(narrow, type) or not isinstance(wide, type):
        return narrow is wide
    return issubclass(narrow, wide) or (narrow is int and wide is float) or (narrow is type(wide))
