"""Records as rows: one `Table` per record, whose `from_row` is the only place that knows the driver's rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sandyard.domain.keys import ApiKey
from sandyard.domain.sandboxes import Isolation, Network, Sandbox, SandboxState
from sandyard.domain.templates import Build, BuildKind, BuildState, LogLine, Recipe, Step, System, Tag, Template
from sandyard.domain.volumes import VolumeMount

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Table(Generic[R]):
    """A record's table: columns are named as the record's fields; `decode` gives the way back for those that are no plain values."""

    name: str
    record: type[R]
    decode: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict[str, Callable[[Any], Any]])

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in fields(self.record))  # pyright: ignore[reportArgumentType] (records are dataclasses)

    @property
    def select(self) -> str:
        """`SELECT` of all columns, in the record's order, from a table that may be joined."""
        return f"SELECT {', '.join(f'{self.name}.{column}' for column in self.columns)} FROM {self.name}"  # noqa: S608 (our names)

    def from_row(self, row: Sequence[Any]) -> R:
        """Build the record from a row of `select`."""
        values = zip(self.columns, row, strict=True)
        return self.record(**{name: self.decode[name](value) if name in self.decode else value for name, value in values})

    def all(self, connection: sqlite3.Connection, rest: str = "", values: Sequence[object] = ()) -> list[R]:
        """Return the records of `select` followed by `rest`."""
        return [self.from_row(row) for row in connection.execute(f"{self.select} {rest}", values)]

    def first(self, connection: sqlite3.Connection, rest: str, values: Sequence[object]) -> R | None:
        """Return the first record of `select` followed by `rest`."""
        row = connection.execute(f"{self.select} {rest}", values).fetchone()
        return None if row is None else self.from_row(row)

    def insert(self, connection: sqlite3.Connection, record: R, **beside: object) -> None:
        """Insert a record; `beside` are columns that the record does not have."""
        values = {column: getattr(record, column) for column in self.columns} | beside
        places = ", ".join("?" * len(values))
        sql = f"INSERT INTO {self.name} ({', '.join(values)}) VALUES ({places})"  # noqa: S608 (our names)
        connection.execute(sql, [encode(value) for value in values.values()])

    def change(self, connection: sqlite3.Connection, id_: str, expected: Sequence[str], changes: Mapping[str, object]) -> R | None:
        """Set `changes` where the row's state is one of `expected`; return the new record, or None if nothing was changed.

        Raises:
            ValueError: a field that the record does not have, or its id.
        """
        unknown = set(changes) - (set(self.columns) - {"id"})
        if unknown or not changes:
            raise ValueError(f"{self.record.__name__} has no such fields to change: {sorted(unknown)}")
        sets = ", ".join(f"{column} = ?" for column in changes)
        sql = f"UPDATE {self.name} SET {sets} WHERE id = ? AND state IN ({places(expected)})"  # noqa: S608 (our names)
        cursor = connection.execute(sql, [*map(encode, changes.values()), id_, *map(str, expected)])
        return self.first(connection, "WHERE id = ?", (id_,)) if cursor.rowcount else None


def places(values: Sequence[object]) -> str:
    """Return as many parameter marks as there are values, for `IN (…)`."""
    return ", ".join("?" * len(values))


def encode(value: object) -> object:
    """Return a field's value as SQLite stores it: words of an enumeration as text, mappings, tuples and records as JSON."""
    match value:
        case Enum():
            return value.value
        case Isolation() | Network() | Recipe() | System():
            return json.dumps(asdict(value))
        case Mapping() | tuple() | list():
            return json.dumps(value, default=asdict)
        case _:
            return value


def texts(text: str) -> tuple[str, ...]:
    """Return a tuple of texts that was stored as JSON."""
    return tuple(json.loads(text))


def _volumes(text: str) -> tuple[VolumeMount, ...]:
    return tuple(VolumeMount(**mount) for mount in json.loads(text))


def _isolation(text: str | None) -> Isolation | None:
    if text is None:
        return None
    values: dict[str, Any] = json.loads(text)
    for name in ("namespaces", "limits", "notes"):
        values[name] = tuple(values[name])
    return Isolation(**values)


def _recipe(text: str | None) -> Recipe | None:
    if text is None:
        return None
    values: dict[str, Any] = json.loads(text)
    steps = tuple(Step(**step | {"args": tuple(step["args"])}) for step in values.pop("steps"))
    return Recipe(**values, steps=steps)


def _system(text: str) -> System:
    return System(**json.loads(text))


def _network(text: str) -> Network:
    values: dict[str, Any] = json.loads(text)
    for name in ("allow_out", "deny_out", "https_ports"):
        values[name] = tuple(values.get(name, ()))
    return Network(**values)


SANDBOXES = Table(
    "sandboxes",
    Sandbox,
    {
        "state": SandboxState,
        "public": bool,
        "metadata": json.loads,
        "isolation": _isolation,
        "auto_resume": bool,
        "keep_memory": bool,
        "network": _network,
        "volumes": _volumes,
        "saved": bool,
    },
)
TEMPLATES = Table("templates", Template, {"public": bool})
BUILDS = Table(
    "builds",
    Build,
    {
        "state": BuildState,
        "manifest": json.loads,
        "tags": texts,
        "dependencies": texts,
        "kind": BuildKind,
        "recipe": _recipe,
        "system": _system,
    },
)
TAGS = Table("tags", Tag)
LOG_LINES = Table("log_lines", LogLine)
KEYS = Table("api_keys", ApiKey)
