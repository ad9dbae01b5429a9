"""Calling the platform and the agents: requests and readers are pure (`sandboxes`, `templates`, `agents`), `sender` sends."""
