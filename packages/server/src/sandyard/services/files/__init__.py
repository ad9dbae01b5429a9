"""The files of callers: what goes into a call and what comes out of it."""
