"""Bytes by key."""

from sandyard.blobs.objects import ObjectBlobs

__all__ = ["ObjectBlobs"]
