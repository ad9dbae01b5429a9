"""Every interface listing of the documents is true of the code; what differs on purpose, or not yet, is on record."""

from __future__ import annotations

import importlib
import re

import pytest
import yaml

from ppio_sandbox.agent_runtime import AgentConfig
from seeds import gaps, listing
from seeds.blocks import DOCUMENTS, Block, blocks_of, python_blocks
from seeds.kinds import Listing, Tree
from seeds.register import REGISTER

BLOCKS = python_blocks()
LISTINGS = [key for key, kind in REGISTER.items() if isinstance(kind, Listing)]
TREES = [key for key, kind in REGISTER.items() if isinstance(kind, Tree)]
_ENTRY = re.compile(r"^(?P<indent>[│ ]*)(?:[├└]── )?(?P<name>\w+)(?P<ending>/|\.py)", re.MULTILINE)


@pytest.mark.promise("seeds.listings-true")
@pytest.mark.parametrize("key", LISTINGS)
def test_a_listing_is_true_of_the_code(key: str) -> None:
    kind = REGISTER[key]
    assert isinstance(kind, Listing)
    assert listing.public_names(BLOCKS[key].source), "nothing in it would be compared"
    found = listing.compare(BLOCKS[key].source, kind.module, kind.owner)
    on_record = {*kind.decided, *gaps.LISTINGS.get(key, {})}
    assert {name: what for name, what in found.items() if name not in on_record} == {}
    assert on_record - set(found) == set(), "these are true now: take them off the record"


@pytest.mark.promise("seeds.listings-true")
@pytest.mark.parametrize("key", TREES)
def test_a_tree_s_files_can_be_imported(key: str) -> None:
    kind = REGISTER[key]
    assert isinstance(kind, Tree)
    missing = {name for name in modules_of(BLOCKS[key]) if not is_there(f"{kind.package}.{name}")}
    assert missing == set(gaps.LISTINGS.get(key, {}))


def modules_of(tree: Block) -> list[str]:
    """Return the modules that a tree's files are, as dotted names below its root."""
    found: list[str] = []
    parents: list[tuple[int, str]] = []
    for match in _ENTRY.finditer(tree.printed):
        depth = len(match["indent"]) // 4
        at_root = "──" not in match[0]
        parents = [] if at_root else [(level, name) for level, name in parents if level < depth]
        if match["ending"] == "/" and not at_root:
            parents.append((depth, match["name"]))
        elif match["ending"] == ".py" and match["name"] != "__init__":
            found.append(".".join([*(name for _, name in parents), match["name"]]))
    return found


def is_there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True


def compared(source: str) -> dict[str, str]:
    return listing.compare(source, "ppio_sandbox.agent_runtime")


@pytest.mark.promise("seeds.listings-true")
@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("class Nowhere: pass", "Nowhere"),
        ("class InvocationError(ValueError): pass", "InvocationError"),
        ("class SessionStatus(str, Enum):\n    ACTIVE = 'alive'", "SessionStatus.ACTIVE"),
        ("class RuntimeConfig(BaseModel):\n    port: int = 80", "RuntimeConfig.port"),
        ("class RuntimeConfig(BaseModel):\n    port: int", "RuntimeConfig.port"),
        ("class RuntimeConfig(BaseModel):\n    port: str = 8080", "RuntimeConfig.port"),
        ("class RuntimeConfig(BaseModel):\n    colour: str = ''", "RuntimeConfig.colour"),
        ("class RuntimeSpec(BaseModel):\n    timeout: Optional[int] = Field(None, ge=0, le=3600)", "RuntimeSpec.timeout"),
        ("class RequestContext(BaseModel):\n    class Config:\n        extra = 'forbid'", "RequestContext.Config.extra"),
        ("class SandboxSession:\n    def pause(self): ...", "SandboxSession.pause"),
        ("class SandboxSession:\n    async def is_active(self): ...", "SandboxSession.is_active"),
        ("class SandboxSession:\n    async def restart(self): ...", "SandboxSession.restart"),
        ("class SandboxSession:\n    async def close(self, force: bool): ...", "SandboxSession.close(force)"),
        ("class SandboxSession:\n    async def close(self) -> int: ...", "SandboxSession.close"),
        ("class SandboxSession:\n    async def invoke(self, stream: bool, request: str): ...", "SandboxSession.invoke(stream)"),
        ("class SandboxSession:\n    async def invoke(self, request: int, stream: bool = False): ...", "SandboxSession.invoke(request)"),
        ("class SandboxSession:\n    async def invoke(self, request: str, stream: bool = True): ...", "SandboxSession.invoke(stream)"),
        ("class SandboxSession:\n    async def invoke(self): ...", "SandboxSession.invoke"),
        ("class AuthManager:\n    def __init__(self):\n        self.colour = 1", "AuthManager.colour"),
    ],
)
def test_the_comparison_sees_what_differs(source: str, where: str) -> None:
    assert where in compared(source)


@pytest.mark.promise("seeds.aliases")
@pytest.mark.parametrize(
    ("alias", "original"),
    [
        ("ppio_agent_runtime.client", "ppio_sandbox.agent_runtime.client"),
        ("ppio_agent_runtime.exceptions", "ppio_sandbox.agent_runtime.exceptions"),
        ("ppio_agent_runtime.runtime", "ppio_sandbox.agent_runtime.runtime"),
        ("ppio_agent_sandbox", "ppio_sandbox.agent_runtime"),
        ("ppio_agent_sandbox.agent_runtime", "ppio_sandbox.agent_runtime"),
        ("ppio_agent_sandbox.client", "ppio_sandbox.agent_runtime.client"),
    ],
)
def test_an_alias_gives_the_same_objects_and_no_second_copy(alias: str, original: str) -> None:
    module, real = importlib.import_module(alias), importlib.import_module(original)
    assert {name for name in module.__all__ if getattr(module, name) is not getattr(real, name)} == set()
    assert [name for name in ("app", "session", "context", "runtime.app", "client.session") if is_there(f"{alias}.{name}")] == []


@pytest.mark.promise("seeds.manifest")
def test_the_manifest_that_the_documents_show_is_read() -> None:
    shown = next(block for path in DOCUMENTS for block in blocks_of(path) if block.language == "yaml")
    values = yaml.safe_load(shown.printed)
    assert AgentConfig.model_validate(values).model_dump(mode="json", exclude_unset=True) == values
