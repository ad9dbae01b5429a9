"""What samples of callers use besides: names that earlier samples imported or made."""

import os
from types import SimpleNamespace

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, ClientConfig, InvocationRequest, NetworkError, SessionStatus

settings = SimpleNamespace(PPIO_API_KEY=os.environ["PPIO_API_KEY"], PPIO_API_SECRET=os.environ["PPIO_API_SECRET"])
client = AgentRuntimeClient()
template_id = "template-id"
request = "Hello"
