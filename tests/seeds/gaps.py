"""What the documents say and the project does not do yet: block to reason, or block to member to reason. The docs show all of it.

Tests hold these records from both sides: a gap that has been mended fails until its record is gone.
"""

from __future__ import annotations

SIGNING = "requests are not signed yet (row 14); with a key alone everything works"
CORE = "`ppio_sandbox` has no `Sandbox` yet: the core of sandboxes is not there, only what runs agents in them"

SAMPLES: dict[str, str] = {
    "001:96": CORE,
    "001:1945": CORE,
    "002:529": SIGNING,
}

LISTINGS: dict[str, dict[str, str]] = {
    "002:216": {"AgentRuntimeClient.__init__(api_secret)": SIGNING},
    "002:352": {"AuthManager.__init__(api_secret)": SIGNING, "AuthManager.api_secret": SIGNING},
}
