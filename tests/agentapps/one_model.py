"""The model server as a process, on a port that is told."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette

from agentapps.models import ROUTES, ModelServer

if __name__ == "__main__":
    application = Starlette(routes=ROUTES)
    application.state.server = ModelServer()
    uvicorn.run(application, port=int(sys.argv[1]), log_level="critical")
