"""Rows on SQLite."""

from sandyard.store.sqlite import SqliteStore

__all__ = ["SqliteStore"]
