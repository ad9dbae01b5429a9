"""Session state: `runtime.session` above, one store below."""

from agentapp.sessions.choosing import make_store
from agentapp.sessions.ports import Key, SessionStore, Stored
from agentapp.sessions.sessions import Sessions, Turn

__all__ = ["Key", "SessionStore", "Sessions", "Stored", "Turn", "make_store"]
