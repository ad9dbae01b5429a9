"""Calling user code, whatever kind of function it is, and turning what it returns into JSON or server-sent events."""
