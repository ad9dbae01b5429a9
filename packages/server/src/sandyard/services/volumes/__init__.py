"""Volumes: which there are, what lies in them, and who may touch it."""
