"""The samples of seed 003: what each one is given, and what it must answer."""

from __future__ import annotations

from dataclasses import dataclass, field

MODEL_ADDRESS = "https://api.openai.com/v1"
TOOLS_ADDRESS = "https://mcp.example.com/search/sse"
"""The document's addresses, where the tests' own servers stand."""

PRELUDE = """\
from agentscope.runtime import runtime, AgentApp, SessionContext
from agentscope.message import Msg
from typing import AsyncIterator


"""
"""What the document's first sample imports, and the later ones use."""

ASSISTANT = """\
  assistant:
    provider: openai
    base_url: https://api.openai.com/v1
    model: gpt-4
    api_key: ${OPENAI_API_KEY}
"""
THE_READERS_AGENT = """

from agentscope.agent import ReActAgent


async def _agent(self):
    self.agent = ReActAgent(name="Assistant", sys_prompt="", model=runtime.models.main, toolkit=runtime.tools)


App.on_startup = _agent
"""
THE_READERS_START = """

from pathlib import Path


def _init(self, session_id):
    with Path("new-sessions").open("a") as file:
        file.write(session_id + " ")


App.init_new_session = _init
"""


@dataclass(frozen=True)
class Sample:
    """`config` is the line of its YAML block; `asked` are texts with the answers that must come, in one session, with `metadata`."""

    asked: tuple[tuple[str, str], ...]
    config: str = "003:23"
    before: str = PRELUDE
    after: str = ""
    more_models: str = ""
    metadata: dict[str, str] = field(default_factory=dict[str, str])


SAMPLES = {
    "003:35": Sample((("Hello", "You said: Hello"),), before=""),
    "003:83": Sample(
        (
            ("Hello", "You said: Hello"),
            ('use search {"query": "it"}', "Let me see. The tool said: tools found it"),
            ("again", "You said: again"),
        ),
        config="003:68",
        before="",
    ),
    "003:134": Sample((("Hello", "Plan: You said: Hello\nYou said: You said: Hello"),), before="", more_models=ASSISTANT),
    "003:179": Sample((("one", "You said: one"), ("two", "You said: two")), after=THE_READERS_AGENT),
    "003:205": Sample((("one", ""),), after=THE_READERS_START),
    "003:223": Sample((("Hello", "You said: Hello"),), after=THE_READERS_AGENT),
    "003:241": Sample((("Hello", ""),), after="\n\nasync def _nothing(self, msg, ctx):\n    pass\n\n\nApp.__call__ = _nothing\n"),
    "003:271": Sample((("Hello", ""),), metadata={"user_id": "u", "tenant_id": "enterprise"}),
}
