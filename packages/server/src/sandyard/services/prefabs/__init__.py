"""Prefabs: their registry, and the calls of their functions."""
