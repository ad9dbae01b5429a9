"""What a Python block of the documents can be, and how each kind is proved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Play:
    """One run of a sample: code before it, code after it (which calls what it defines), and what it must have printed."""

    after: str = ""
    printed: tuple[str, ...] = ()
    before: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """A sample of a caller: run as a program against a platform with these templates."""

    plays: tuple[Play, ...]
    templates: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class GatewayProgram:
    """A sample of a caller of the gateway: run as a program against a gateway with the prefabs of `examples/prefabs`."""

    plays: tuple[Play, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A sample of an agent: deployed as it stands and called with `request`.

    `answer` must be among the values of the result, or among the chunks where it `streams`; `health` is what its own check adds to a ping;
    files of `agents/` lie `beside` it, and what it `requires` is installed; code `after` it
    stands at the end of its file.
    """

    request: Mapping[str, object]
    answer: str
    streams: bool = False
    health: Mapping[str, object] = field(default_factory=dict[str, object])
    beside: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    after: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """An interface listing, compared with `module`; loose functions are methods of `owner`.

    `decided` names members that differ on purpose, each with the row of the resolutions that says so.
    """

    module: str
    owner: str | None = None
    decided: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory tree in a Python fence: no program, but each file named in it must be importable below `package`."""

    package: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """Neither a program nor an interface; the reason is for strangers."""

    reason: str


@dataclass(frozen=True, slots=True)
class App:
    """A sample of an AgentScope app: served as it stands by `agentscope run`; `tests/agentapps` plays it, where AgentScope is installed."""

    note: str = ""


Kind = Program | GatewayProgram | App | Server | Listing | Tree | Fragment
