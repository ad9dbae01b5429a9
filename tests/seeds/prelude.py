"""What samples use without defining it: put before a sample's first line."""

import asyncio
import json
import logging
import os
import time
from datetime import datetime
from typing import Any, Dict, List, Optional, TypedDict

from ppio_sandbox.agent_runtime import RequestContext

logger = logging.getLogger("sample")


class AgentState(TypedDict):
    input: str
    output: str


def check_dependencies() -> dict:
    return {"database": "ok"}


async def process_query(query: str) -> str:
    return f"processed {query}"


async def process_request(request: dict) -> dict:
    return {"processed": request["query"]}


def load_from_config() -> str:
    return os.environ["PPIO_API_KEY"]
